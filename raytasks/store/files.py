"""The table of files to remove: a transaction that gives up files lists them here.

They are removed after its commit. A row names a task and one of its files; an empty name stands for
all files of the task.
"""

import uuid
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, Delete, Select, Table, Update, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from raytasks.store.schema import tasks
from raytasks.store.service_tables import database_identity, files_to_remove

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
    """Return the statement that inserts rows that do not exist yet."""
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Any = insert_into(table)
    return statement.on_conflict_do_nothing()


def mark(connection: Connection, keys: Iterable[FileKey], due_at: float) -> None:
    """Schedule the removal of files for `due_at` (seconds since the epoch)."""
    rows = [{"task_id": task_id, "name": name, "due_at": due_at} for task_id, name in keys]
    if rows:
        connection.execute(_insert(files_to_remove, connection.dialect.name), rows)


def due(connection: Connection, now: float, limit: int) -> list[FileKey]:
    """Return files whose removal is due, at most `limit`, the longest due first."""
    rows = connection.execute(_DUE, {"p_now": now, "p_limit": limit})
    return [(task_id, name) for task_id, name in rows]


def done(
    connection: Connection, removed: Sequence[FileKey], failed: Sequence[FileKey], retry_at: float
) -> None:
    """Delete the rows of removed files. Failed ones are tried again at `retry_at`."""
    if removed:
        connection.execute(_DONE, [{"p_task_id": key[0], "p_name": key[1]} for key in removed])
    if failed:
        later = [{"p_task_id": key[0], "p_name": key[1], "p_due_at": retry_at} for key in failed]
        connection.execute(_LATER, later)


def known(connection: Connection, task_ids: Sequence[str]) -> set[str]:
    """Return the ids that belong to tasks."""
    if not task_ids:
        return set()
    return set(connection.execute(_KNOWN, {"p_task_ids": list(task_ids)}).scalars())


def database_id(connection: Connection) -> str:
    """Return the unique id of this database; it is created at the first call."""
    row = {"id": 1, "database_id": str(uuid.uuid4())}
    connection.execute(_insert(database_identity, connection.dialect.name), row)
    known_as: str = connection.execute(_DATABASE_ID).scalar_one()
    return known_as
