"""`raytasks namespaces`: what is in them, and their shares of run time."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.options import AtService, UsageError, at_service
from raytasks.client.inspection_documents import NamespaceDocument

app = typer.Typer(help="Show the namespaces, and set their shares.", invoke_without_command=True)

_NONE = "none"

Name = Annotated[str, typer.Argument(help="The namespace.")]


@app.callback()
@at_service()
def namespaces(at: AtService, ctx: typer.Context) -> None:
    """Show the namespaces that have tasks or a share, and how many tasks are in each state."""
    if ctx.invoked_subcommand is not None:
        return
    with at.connect() as client:
        found = client.namespaces()
    if at.as_json:
        typer.echo(tables.pretty_json({"namespaces": found}))
    else:
        tables.console.print(namespaces_table(found))


@app.command("set")
@at_service(namespaced=False)
def set_namespace(
    at: AtService,
    name: Name,
    weight: Annotated[
        float | None, typer.Option(help="Its share of run time; others have 1 by default.")
    ] = None,
    max_backlog: Annotated[
        str | None, typer.Option(help="How many of its tasks may wait; `none`: no own bound.")
    ] = None,
) -> None:
    """Set the share of a namespace, until `clear`; a value that is not given stays."""
    if weight is None and max_backlog is None:
        raise UsageError("give --weight or --max-backlog")
    with at.connect() as client:
        present = [item for item in client.namespaces() if item["name"] == name]
        share, most = (present[0]["weight"], present[0]["max_backlog"]) if present else (1.0, None)
        if max_backlog is not None:
            most = None if max_backlog == _NONE else _whole(max_backlog)
        changed = client.set_namespace(
            name, weight=share if weight is None else weight, max_backlog=most
        )
    _print(changed, at)


@app.command("clear")
@at_service(namespaced=False)
def clear_namespace(at: AtService, name: Name) -> None:
    """Give a namespace the usual share again, without a bound. Its tasks stay."""
    with at.connect() as client:
        cleared = client.clear_namespace(name)
    _print(cleared, at)


def namespaces_table(found: Sequence[NamespaceDocument]) -> Table:
    """Return a table of namespaces."""
    table = Table(box=None, pad_edge=False)
    for name in ("NAMESPACE", "WEIGHT", "MAX BACKLOG", "TASKS", "BY STATE"):
        table.add_column(name)
    for namespace in found:
        counts, most = namespace["by_state"], namespace["max_backlog"]
        states = ", ".join(f"{number:,} {state}" for state, number in counts.items())
        table.add_row(
            namespace["name"],
            f"{namespace['weight']:g}",
            "" if most is None else f"{most:,}",
            f"{sum(counts.values()):,}",
            states,
        )
    return table


def _print(namespace: NamespaceDocument, at: AtService) -> None:
    if at.as_json:
        typer.echo(tables.pretty_json(namespace))
    else:
        tables.console.print(namespaces_table([namespace]))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise UsageError(f"--max-backlog: {text!r} is no whole number, nor `none`")
    return int(text)
