"""`raytasks pools`: the pools of runners, and their sizes at run time."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.durations import duration_text
from raytasks.cli.options import AtService, at_service
from raytasks.client.inspection_documents import PoolDocument, SizesDocument

app = typer.Typer(
    help="Show the pools of runners, and set their sizes.", invoke_without_command=True
)

Name = Annotated[str, typer.Argument(help="The pool's name.")]


@app.callback()
@at_service()
def pools(at: AtService, ctx: typer.Context) -> None:
    """Show the pools of runners: sizes, states, backlog."""
    if ctx.invoked_subcommand is not None:
        return
    with at.connect() as client:
        found = client.pools()
    if at.as_json:
        typer.echo(tables.pretty_json({"pools": found}))
    else:
        tables.console.print(pools_table(found))


@app.command("set")
@at_service(namespaced=False)
def set_pool(
    at: AtService,
    name: Name,
    least: Annotated[int, typer.Argument(help="The fewest runners; 0: none until tasks come.")],
    most: Annotated[int, typer.Argument(help="The most runners.")],
) -> None:
    """Set the sizes of a pool, at once and until `clear`. What runs goes on."""
    with at.connect() as client:
        changed = client.set_pool(name, least, most)
    _print(changed, at)


@app.command("clear")
@at_service(namespaced=False)
def clear_pool(at: AtService, name: Name) -> None:
    """Return to the sizes in the handlers' code, or of the settings."""
    with at.connect() as client:
        cleared = client.clear_pool(name)
    _print(cleared, at)


def pools_table(found: Sequence[PoolDocument]) -> Table:
    """Return a table of pools."""
    table = Table(box=None, pad_edge=False)
    names = ("POOL", "RUNNERS", "MIN-MAX", "DECLARED", "SET BY", "STATES", "BACKLOG")
    for name in (*names, "OLDEST DUE", "TYPES"):
        table.add_column(name)
    for pool in found:
        counts = pool["states"].items()
        states = ", ".join(f"{number} {state}" for state, number in counts if number)
        override, oldest = pool["override"], pool["oldest_due_seconds"]
        table.add_row(
            pool["name"],
            str(pool["runners"]),
            "" if pool["min_runners"] is None else f"{pool['min_runners']}-{pool['max_runners']}",
            _sizes_text(pool["declared"]),
            "" if override is None else override["by"],
            states or "none",
            f"{pool['backlog']:,}",
            "" if oldest is None else duration_text(oldest),
            ", ".join(pool["task_types"]),
        )
    return table


def _sizes_text(sizes: SizesDocument | None) -> str:
    return "" if sizes is None else "-".join(map(str, sizes["runners"]))


def _print(pool: PoolDocument, at: AtService) -> None:
    if at.as_json:
        typer.echo(tables.pretty_json(pool))
    else:
        tables.console.print(pools_table([pool]))
