"""The insert by a user's own connection, of whichever library."""

import weakref
from typing import Any

from raytasks.outbox.nudges import nudge
from raytasks.outbox.prepared import PreparedTask

_SUBMITTED = "raytasks_submitted"
_LISTENS = "raytasks_listens"


def insert(connection: Any, task: PreparedTask, *, nudges: bool) -> None:
    """Insert a task by a connection or session. Raises `TypeError` for one that is not known."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(connection).__mro__}
    is_async = any(kind.__name__.startswith("Async") for kind in type(connection).__mro__)
    if is_async and libraries & {"sqlalchemy", "psycopg"}:
        raise TypeError(
            f"{type(connection).__name__} is async: with SQLAlchemy use run_sync, with psycopg "
            "await connection.execute(task.sql, task.parameters) for a task of prepare(); "
            "see docs/outbox.md"
        )
    if "sqlalchemy" in libraries:
        _insert_by_sqlalchemy(connection, task, nudges=nudges)
    elif "psycopg" in libraries:
        connection.execute(task.sql, task.parameters)
    else:
        raise TypeError(
            f"{type(connection).__name__} is no connection of SQLAlchemy or psycopg 3; execute the "
            "sql of prepare() with its parameters"
        )


def _insert_by_sqlalchemy(connection: Any, task: PreparedTask, *, nudges: bool) -> None:
    # Whoever has such a connection has SQLAlchemy; nobody else needs it.
    from sqlalchemy import text

    has_session = not hasattr(connection, "exec_driver_sql")
    dialect = (connection.get_bind() if has_session else connection).dialect.name
    # Some drivers for PostgreSQL send a text as a text, whatever the type of the column is.
    place = "CAST(:id AS uuid)" if dialect == "postgresql" else ":id"
    connection.execute(
        text(
            f"INSERT INTO {task.table} (id, kind, namespace, document, created_at) "  # noqa: S608 - names of ours, and a quoted schema
            f"VALUES ({place}, :kind, :namespace, :document, :created_at)"
        ),
        task.values,
    )
    if nudges:
        _nudge_after_commit(connection, has_session=has_session)


def _nudge_after_commit(connection: Any, *, has_session: bool) -> None:
    """Nudge the service when the transaction of a connection or session commits.

    An event of a connection comes just before its commit. The service looks several times after a
    nudge, so that does not matter.
    """
    from sqlalchemy import event

    connection.info[_SUBMITTED] = True
    listening = connection.info.get(_LISTENS)
    if listening is not None and listening() is connection:
        return

    def after_commit(committed: Any) -> None:
        if committed.info.pop(_SUBMITTED, False):
            nudge()

    event.listen(connection, "after_commit" if has_session else "commit", after_commit)
    connection.info[_LISTENS] = weakref.ref(connection)  # the info outlives a pooled connection
