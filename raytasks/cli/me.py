"""`raytasks me`: who the service takes this caller for."""

import typer

from raytasks.cli import tables
from raytasks.cli.options import AtService, at_service


@at_service(namespaced=False)
def me(at: AtService) -> None:
    """Show the name, scopes and namespace of the API key, and the service's version."""
    with at.connect() as client:
        found = client.me()
    if at.as_json:
        typer.echo(tables.pretty_json(found))
        return
    typer.echo(f"{tables.plain(found['name'])}: {', '.join(found['scopes'])}")
    typer.echo(f"namespace: {found['namespace'] or 'any'}")
    typer.echo(f"{found['service']} {found['version']} at {client.url}")
