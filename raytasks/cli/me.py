"""`raytasks me`: who the service takes this caller for."""

import typer

from raytasks.cli import tables
from raytasks.cli.options import ApiKey, AsJson, Url, connect
from raytasks.client import DEFAULT_URL


def me(url: Url = DEFAULT_URL, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Show the name, scopes and namespace of the API key, and the service's version."""
    with connect(url, api_key, None) as client:
        found = client.me()
    if as_json:
        typer.echo(tables.pretty_json(found))
        return
    typer.echo(f"{tables.plain(found['name'])}: {', '.join(found['scopes'])}")
    typer.echo(f"namespace: {found['namespace'] or 'any'}")
    typer.echo(f"{found['service']} {found['version']} at {client.url}")
