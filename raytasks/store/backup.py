"""Backups of our tables: a copy of the SQLite file, or PostgreSQL's own `pg_dump`."""

import contextlib
import os
import shlex
import shutil
import sqlite3
import subprocess
import uuid
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo
from sqlalchemy import text
from sqlalchemy.engine import URL

from raytasks.model.lines import one_line
from raytasks.model.tasks import RaytasksError, StoreUnavailable
from raytasks.store.all_tables import TABLE_NAMES
from raytasks.store.database import Database, open_sqlite
from raytasks.store.tables_upgrade import VERSION_TABLE

_BUSY_SECONDS = 30.0
_TABLE_PLACE = text(
    "SELECT nspname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE pg_class.oid = to_regclass('tasks')"
)


class BackupFailed(RaytasksError):
    """There is no backup. The text says why."""


def back_up(url: str, target: Path) -> int:
    """Write a backup of the database at `url` to a new file; return its size in bytes.

    A service may run meanwhile: the backup shows one moment. Raises `BackupFailed`, and
    `StoreUnavailable` if the database cannot be read.
    """
    if target.exists():
        raise BackupFailed(f"{target} is there already; name a new file")
    part: Path | None = None
    database = Database(url, reads_only=True)
    try:
        with database.reading() as connection:
            if database.tables().present(connection) is None:
                raise BackupFailed("the database has no tables of raytasks")
        part = _new_file(target)
        if database.is_sqlite:
            _copy(database.url, part)
        else:
            _dump(database, part)
        os.rename(part, target)
    except OSError as error:
        raise BackupFailed(f"{target}: {error.strerror}") from error
    finally:
        database.close()
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()
    return target.stat().st_size


def _new_file(target: Path) -> Path:
    """Make an empty file beside `target`, which nobody has used, and return it."""
    part = target.with_name(f"{target.name}.{uuid.uuid4().hex[:8]}.part")
    part.touch(exist_ok=False)
    return part


def _copy(url: URL, part: Path) -> None:
    """Copy a file in one transaction that reads. Writers go on, and their log grows meanwhile."""
    try:
        with (
            contextlib.closing(open_sqlite(url, timeout=_BUSY_SECONDS)) as source,
            contextlib.closing(sqlite3.connect(part)) as copy,
        ):
            source.backup(copy)
            # One file, without a log beside it.
            copy.execute("PRAGMA journal_mode=DELETE")
            [(verdict,)] = copy.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.Error as error:
        raise StoreUnavailable(one_line(error)) from error
    if verdict != "ok":
        raise BackupFailed(f"the database is damaged: {verdict}")
    with part.open("rb") as written:
        os.fsync(written.fileno())


def _dump(database: Database, part: Path) -> None:
    command, environment = dump_command(database, part)
    program = shutil.which(command[0])
    if program is None:
        raise BackupFailed(
            f"pg_dump is not installed here; run it where it is: {shlex.join(command)}"
        )
    done = subprocess.run(  # noqa: S603 - no shell
        [program, *command[1:]],
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise BackupFailed(
            " ".join(done.stderr.split()) or f"pg_dump has failed: {done.returncode}"
        )


def dump_command(database: Database, target: Path) -> tuple[list[str], dict[str, str]]:
    """Return the call of `pg_dump` for our tables, and its environment, which has the password.

    Raises `StoreUnavailable`.
    """
    given: dict[str, Any] = dict(database.url.get_dialect()().create_connect_args(database.url)[1])
    environment = {"PGPASSWORD": str(given.pop("password"))} if given.get("password") else {}
    if database.schema is not None:
        what = [f"--schema={database.schema}"]
    else:
        with database.reading() as connection:
            place = connection.execute(_TABLE_PLACE).scalar_one()
        what = [f'--table="{place}".{name}' for name in sorted({*TABLE_NAMES, VERSION_TABLE})]
    names = {key: given[key] for key in sorted(given.keys() - {"context"})}
    place = make_conninfo("", **names)
    return (
        ["pg_dump", "--format=custom", "--no-owner", f"--file={target}", *what, place],
        environment,
    )
