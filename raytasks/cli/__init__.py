"""The `raytasks` command."""

import sys

import typer
from rich.console import Console

from raytasks.cli import up
from raytasks.models import RaytasksError

app = typer.Typer(
    name="raytasks",
    help="A durable task queue that is native to Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("worker")(up.worker)


def main() -> None:
    """Run the command; an expected error is one line on standard error, and exit code 2."""
    try:
        app()
    except RaytasksError as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(f"error: {error}", markup=False)
        sys.exit(2)
