"""`raytasks env`: what to export before one's own `ray start`."""

import json
from typing import Annotated

import typer


def env(
    host: Annotated[str, typer.Option(help="Where the API will listen.")] = "127.0.0.1",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Print the variables that Ray needs before it starts: eval "$(raytasks env)"; ray start ...

    `raytasks up` without --address sets them by itself. What is set already keeps its value.
    """
    from raytasks.cluster import token as ray_token
    from raytasks.cluster.environment import exports, shell_lines

    found = exports(host.removeprefix("[").removesuffix("]"))
    if as_json:
        variables = {name: value for group in found for name, value in group.variables.items()}
        typer.echo(json.dumps(variables, indent=2))
        return
    for line in shell_lines(found):
        typer.echo(line)
    if ray_token.is_wanted() and not ray_token.has_token():
        typer.echo("# Ray asks for no token, as there is none here: to make one, run")
        typer.echo("# 'ray get-auth-token --generate', and then this command again.")
