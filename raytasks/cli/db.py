"""`raytasks db`: the tables' upgrade, the database's state, backups."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.table import Table

from raytasks.cli import tables
from raytasks.cli.durations import duration_text

if TYPE_CHECKING:
    from raytasks.store.database_status import DatabaseStatus

app = typer.Typer(help="The database.", no_args_is_help=True)

Result = TypeVar("Result")

DatabaseUrl = Annotated[str | None, typer.Option(help="Default: RAYTASKS_DATABASE_URL.")]


@app.command("upgrade")
def upgrade(
    database_url: DatabaseUrl = None,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print PostgreSQL's statements, and change nothing.")
    ] = False,
) -> None:
    """Make the tables, or bring those of an earlier version up to date."""
    url = _url(database_url)
    if sql:
        typer.echo(_script(url) or "-- the database is up to date\n", nl=False)
        return
    prepare_database(url)
    typer.echo("the database is up to date")


@app.command("status")
def status(
    database_url: DatabaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the version of the tables, their sizes, and what holds up their vacuum.

    The exit code is 0 if the tables are ready for this version, else 1.
    """
    from raytasks.store.database_status import read_status

    url = _url(database_url)
    found = _checked(lambda: read_status(url))
    if as_json:
        typer.echo(tables.pretty_json(dataclasses.asdict(found)))
    else:
        _show(found)
    if not found.complete:
        raise typer.Exit(1)


@app.command("backup")
def backup(
    file: Annotated[Path, typer.Argument(help="The new file.")],
    database_url: DatabaseUrl = None,
) -> None:
    """Write a backup to a new file, also while the service runs.

    SQLite: a copy of the file. PostgreSQL: what pg_dump writes for our tables.
    """
    from raytasks.store.backup import back_up

    url = _url(database_url)
    size = _checked(lambda: back_up(url, file))
    typer.echo(f"{file}: {_bytes(size)}")


def prepare_database(url: str) -> None:
    """Apply the missing migrations. Raises `SettingsError` if that fails."""
    from raytasks.store.store import Store

    store = Store(url)
    try:
        _checked(store.upgrade)
    finally:
        store.close()


def _url(database_url: str | None) -> str:
    from raytasks.settings import load_settings

    return load_settings(database_url=database_url).database_url


def _checked(call: Callable[[], Result]) -> Result:
    """Make a call of the store. Raises `SettingsError` if the database is away, or not ours."""
    from raytasks.model.tasks import StoreUnavailable
    from raytasks.settings import SettingsError
    from raytasks.store.database import WritesRefused
    from raytasks.store.tables_upgrade import TablesRefused

    try:
        return call()
    except (TablesRefused, WritesRefused) as error:
        raise SettingsError(f"RAYTASKS_DATABASE_URL: {error}") from None
    except StoreUnavailable as error:
        raise SettingsError(
            f"RAYTASKS_DATABASE_URL: the database cannot be reached: {error}"
        ) from None


def _script(url: str) -> str:
    from raytasks.settings import SettingsError
    from raytasks.store.database import Database

    database = Database(url, reads_only=True)
    try:
        if database.is_sqlite:
            raise SettingsError(
                "--sql: for PostgreSQL only, as SQLite's tables are copied; make a backup with "
                "'raytasks db backup FILE', and run 'raytasks db upgrade'"
            )
        return _checked(database.tables().script)
    finally:
        database.close()


def _show(status: "DatabaseStatus") -> None:
    pooler = ", behind a pooler" if status.pooled else ""
    lines = {
        "database": status.place,
        "server": f"{status.server}{pooler}",
        "tables": _tables_text(status),
        "size": _bytes(status.bytes),
        "tasks": ", ".join(f"{number:,} {state}" for state, number in status.tasks.items()),
    }
    for name, text in lines.items():
        if text:
            tables.console.print(f"{name + ':':<10}{text}", soft_wrap=True)
    if status.tables:
        tables.console.print(_sizes(status))
    for holder in status.holders:
        age = "" if holder.seconds is None else f" for {duration_text(holder.seconds)}"
        tables.console.print(
            f"holds up the vacuum{age}: {holder.name} ({holder.state}) {holder.query}".rstrip(),
            soft_wrap=True,
        )


def _tables_text(status: "DatabaseStatus") -> str:
    if status.refused is not None:
        return f"refused: {status.refused}"
    if status.revision is None:
        return f"none; 'raytasks up' or 'raytasks db upgrade' makes those of {status.head}"
    if status.missing:
        return (
            f"of revision {status.revision}; an upgrade applies {', '.join(status.missing)} "
            "('raytasks db upgrade --sql' prints it)"
        )
    if not status.complete:
        return f"of revision {status.revision}; an upgrade builds missing indexes"
    return f"of revision {status.revision}, up to date"


def _sizes(status: "DatabaseStatus") -> Table:
    table = Table(box=None, pad_edge=False)
    measured = any(row.bytes is not None for row in status.tables)
    table.add_column("TABLE", no_wrap=True)
    for name in ("ROWS", "SIZE", "DEAD ROWS") if measured else ("ROWS",):
        table.add_column(name, justify="right", no_wrap=True)
    if measured:
        table.add_column("LAST VACUUM", no_wrap=True)
    for row in status.tables:
        if not measured:
            table.add_row(row.name, f"{row.rows:,}")
            continue
        vacuumed = "never"
        if row.vacuumed_at is not None:
            vacuumed = f"{duration_text(max(0.0, time.time() - row.vacuumed_at))} ago"
        dead = f"{row.dead_rows or 0:,}"
        table.add_row(row.name, f"{row.rows:,}", _bytes(row.bytes or 0), dead, vacuumed)
    return table


def _bytes(count: float) -> str:
    units = ["TB", "GB", "MB", "kB"]
    if count < 1000:
        return f"{count:.0f} bytes"
    while count >= 1000 and units:
        count, unit = count / 1000, units.pop()
    return f"{count:.1f} {unit}"
