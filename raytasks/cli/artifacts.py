"""`raytasks artifacts`: the files of a task."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.options import AtService, TaskId, UsageError, at_service


@at_service()
def artifacts(
    at: AtService,
    task_id: TaskId,
    name: Annotated[str | None, typer.Argument(help="Fetch this file; without: list them.")] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", help="Where to write it; - is standard output.")
    ] = None,
) -> None:
    """List the files of a task, or fetch one."""
    if name is None and output is not None:
        raise UsageError("--output is for one file: give its name, too")
    with at.connect() as client:
        if name is not None:
            _write(output or Path(name).name, client.artifact(task_id, name), named=bool(output))
            return
        found = client.artifacts(task_id)
    if at.as_json:
        typer.echo(tables.pretty_json({"artifacts": found}))
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("NAME", no_wrap=True)
    table.add_column("BYTES", justify="right")
    for item in found:
        table.add_row(item["name"], f"{item['bytes']:,}")
    tables.console.print(table)


def _write(place: str, data: bytes, *, named: bool) -> None:
    """Write a file. Only a file that was asked for by name may replace another."""
    if place == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with Path(place).open("wb" if named else "xb") as file:
            file.write(data)
    except FileExistsError:
        raise UsageError(f"{place} is there already: say where to with --output") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot write {place}: {error}") from None
    typer.echo(f"{place}: {len(data):,} bytes")
