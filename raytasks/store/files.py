"""Files that nobody needs any more: named in the transaction that gave them up, removed after it.

A row names a task and one of its files; an empty name stands for all files of the task.
"""

import uuid
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Delete, Select, Table, Update, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from raytasks.store.schema import database_identity, files_to_remove, tasks

ALL = ""
"""The name that stands for all files of a task."""

FileKey = tuple[str, str]
"""The id of a task, and the name of one of its files, or `ALL`."""

_DUE: Select[Any] = (
    select(files_to_remove.c.task_id, files_to_remove.c.name)
    .where(files_to_remove.c.due_at <= bindparam("p_now"))
    .order_by(files_to_remove.c.due_at)
    .limit(bindparam("p_limit"))
)

_THE_FILE = (files_to_remove.c.task_id == bindparam("p_task_id")) & (
    files_to_remove.c.name == bindparam("p_name")
)
_DONE: Delete = delete(files_to_remove).where(_THE_FILE)
_LATER: Update = update(files_to_remove).where(_THE_FILE).values(due_at=bindparam("p_due_at"))

_KNOWN: Select[Any] = select(tasks.c.task_id).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)


_DATABASE_ID: Select[Any] = select(database_identity.c.database_id)


@cache
def _insert(table: Table, dialect: str) -> Any:
    """Insert what is not there."""
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Any = insert_into(table)
    return statement.on_conflict_do_nothing()


def mark(connection: Connection, keys: Iterable[FileKey], due_at: float) -> None:
    """Have files removed from a time on (seconds since the epoch)."""
    rows = [{"task_id": task_id, "name": name, "due_at": due_at} for task_id, name in keys]
    if rows:
        connection.execute(_insert(files_to_remove, connection.dialect.name), rows)


def due(connection: Connection, now: float, limit: int) -> list[FileKey]:
    """Return files that are to be removed now, those that waited longest first."""
    rows = connection.execute(_DUE, {"p_now": now, "p_limit": limit})
    return [(task_id, name) for task_id, name in rows]


def done(
    connection: Connection, removed: Sequence[FileKey], failed: Sequence[FileKey], retry_at: float
) -> None:
    """Forget files that are removed. Those where it failed are tried again at `retry_at`."""
    if removed:
        connection.execute(_DONE, [{"p_task_id": key[0], "p_name": key[1]} for key in removed])
    if failed:
        later = [{"p_task_id": key[0], "p_name": key[1], "p_due_at": retry_at} for key in failed]
        connection.execute(_LATER, later)


def known(connection: Connection, task_ids: Sequence[str]) -> set[str]:
    """Return those of the ids that are ids of tasks."""
    if not task_ids:
        return set()
    return set(connection.execute(_KNOWN, {"p_task_ids": list(task_ids)}).scalars())


def database_id(connection: Connection) -> str:
    """Return what tells this database from all others; it is made where there is none."""
    row = {"id": 1, "database_id": str(uuid.uuid4())}
    connection.execute(_insert(database_identity, connection.dialect.name), row)
    known_as: str = connection.execute(_DATABASE_ID).scalar_one()
    return known_as
