"""`raytasks errors`: what fails, by task type and class of error."""

import math
from collections.abc import Sequence

import typer
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.options import AtService, OfType, at_service
from raytasks.client.inspection_documents import ErrorGroupDocument

_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = 60


@at_service()
def errors(
    at: AtService,
    task_type: OfType = None,
) -> None:
    """Group the FAILED tasks by type and class of error: how many, since when, the newest."""
    with at.connect() as client:
        found = client.errors(task_type)
    if at.as_json:
        typer.echo(tables.pretty_json(found))
        return
    if not found["groups"]:
        typer.echo("no task is FAILED")
        return
    tables.console.print(_table(found["groups"]))
    if found["omitted"]:
        typer.echo(f"and {found['omitted']} smaller groups")
    group = found["groups"][0]
    hint = f"raytasks bulk retry --type {group['task_type']} --error {group['error_type']}"
    tables.console.print(f"to run them again: {tables.plain(hint)}", style="dim", soft_wrap=True)


def sparkline(values: Sequence[float]) -> str:
    """Return numbers as a line of bars; 0 is a blank."""
    most = max(values, default=0) or 1
    steps = (math.ceil(value * len(_BARS) / most) for value in values)
    return "".join(_BARS[step - 1] if step else " " for step in steps)


def _table(groups: Sequence[ErrorGroupDocument]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("TYPE", "ERROR", "COUNT", "24 HOURS", "LAST", "NEWEST TASK", "MESSAGE"):
        table.add_column(name, no_wrap=name in ("NEWEST TASK", "24 HOURS"))
    for group in groups:
        message = group["message"].partition("\n")[0]
        table.add_row(
            group["task_type"],
            tables.plain(group["error_type"]),
            f"{group['count']:,}",
            sparkline(group["hours"]),
            group["last_at"][:19].replace("T", " "),
            group["newest_task_id"],
            tables.plain(message if len(message) <= _SHOWN else f"{message[: _SHOWN - 1]}…"),
        )
    return table
