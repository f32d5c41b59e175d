"""The insert by a user's own connection, of whichever library."""

import logging
import weakref
from functools import cache
from typing import Any

from raytasks.outbox.nudges import check_nudges, nudge
from raytasks.outbox.prepared import PreparedTask

log = logging.getLogger(__name__)

_SUBMITTED = "raytasks_submitted"


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
    if not hasattr(connection, "exec_driver_sql"):
        connection = connection.connection()  # that of the session's transaction
    if nudges:
        check_nudges()
    connection.execute(_statement(task.table, connection.dialect.name), task.values)
    if nudges:
        connection.info[_SUBMITTED] = True
        _nudge_at_commits_of(connection.engine)


@cache
def _statement(table: str, dialect: str) -> Any:
    # Whoever has such a connection has SQLAlchemy; nobody else needs it.
    from sqlalchemy import text

    # Some drivers for PostgreSQL send a text as a text, whatever the type of the column is.
    place = "CAST(:id AS uuid)" if dialect == "postgresql" else ":id"
    return text(
        f"INSERT INTO {table} (id, kind, namespace, document, created_at) "  # noqa: S608 - names of ours, and a quoted schema
        f"VALUES ({place}, :kind, :namespace, :document, :created_at)"
    )


_engines: "weakref.WeakSet[Any]" = weakref.WeakSet()
"""The engines whose commits are heard."""


def _nudge_at_commits_of(engine: Any) -> None:
    """Nudge the service when a transaction of an engine commits that has submitted a task.

    The event comes just before the commit. The service looks several times after a nudge, so that
    does not matter.
    """
    if engine in _engines:
        return
    from sqlalchemy import event

    event.listen(engine, "commit", _on_commit)
    _engines.add(engine)


def _on_commit(connection: Any) -> None:
    if connection.info.pop(_SUBMITTED, False):
        try:
            nudge()
        except Exception as error:  # the commit comes behind this, and must not fail by it
            log.warning("the service was not nudged: %s", error)
