"""The part of PostgreSQL's upgrade that runs beside a service: indexes and lanes of a large table.

An earlier tracker may go on writing meanwhile. Its ticks wait for nothing longer than a few rows.
What it writes after its tasks were put into lanes is found by `take_over`, which runs when it can
write no more. All of this may be interrupted at any point, and is then begun again.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, Select, Update, bindparam, select, text, update
from sqlalchemy.schema import CreateIndex, Index

from raytasks.model.lane_names import PLAIN_LANE, lane_of
from raytasks.model.schema_names import quoted
from raytasks.model.states import FINAL, State
from raytasks.model.tasks import StoreUnavailable
from raytasks.store.count_steps import NAMESPACES
from raytasks.store.postgres_sessions import POOLED
from raytasks.store.schema import UNCOMPLETED, tasks
from raytasks.store.service_tables import tracker_epoch

CONDEMNED = (
    "ix_tasks_claim",
    "ix_tasks_namespace",
    "ix_tasks_state",
    "ix_tasks_type",
    "ix_tasks_type_state",
    "ix_tasks_uncompleted_type",
)
"""The indexes of earlier versions that others have replaced."""

BATCH = 2000
"""Maximum number of tasks that one transaction puts into lanes while a service runs."""

_LOCK = 0x7261797461736B73  # "raytasks", for PostgreSQL's advisory lock
_LOCK_SECONDS = 5.0
_LOCK_STEP_SECONDS = 0.1

_INDEXES = text(
    "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
    "WHERE indrelid = to_regclass(:p_table)"
)

_TO_MOVE = (UNCOMPLETED, tasks.c.namespace == bindparam("p_namespace"), tasks.c.lane == PLAIN_LANE)

_NEXT: Select[Any] = (
    select(tasks.c.task_id)
    .where(
        *_TO_MOVE,
        tasks.c.state == bindparam("p_state"),
        tasks.c.task_id > bindparam("p_cursor"),
    )
    .order_by(tasks.c.task_id)
    .limit(BATCH)
    .with_for_update(skip_locked=True)
)
_MOVE_NEXT: Update = (
    update(tasks)
    .where(tasks.c.task_id.in_(_NEXT))
    .values(lane=bindparam("p_lane"))
    .returning(tasks.c.task_id)
)
_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_OPEN_STATES = [state.value for state in State if state not in FINAL]
_MOVE_ALL: Update = (
    update(tasks).where(*_TO_MOVE, tasks.c.state.in_(_OPEN_STATES)).values(lane=bindparam("p_lane"))
)

_KNOWN: Select[Any] = select(tracker_epoch.c.in_lanes)
_IN_LANES: Update = update(tracker_epoch).values(in_lanes=True)


@contextmanager
def alone(engine: Engine, schema: str | None = None) -> Iterator[Connection]:
    """Hold the lock of upgrades, and yield a connection that commits each statement.

    Raises `StoreUnavailable` if another process holds the lock for some seconds.
    """
    with engine.connect() as holder, engine.connect() as worker:
        # The lock belongs to a transaction: behind a pooler, no session is ours for longer. At this
        # level an open transaction holds no snapshot, for which the build of an index would wait.
        holder.execution_options(isolation_level="READ COMMITTED")
        # No call may wait for the lock. The build of an index waits for all open transactions.
        give_up_at = time.monotonic() + _LOCK_SECONDS
        while not holder.execute(text(f"SELECT pg_try_advisory_xact_lock({_LOCK})")).scalar():
            holder.rollback()
            if time.monotonic() > give_up_at:
                raise StoreUnavailable(
                    "another process upgrades the database's tables; wait for it"
                )
            time.sleep(_LOCK_STEP_SECONDS)
        holder.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        names = {} if schema is None else {None: schema}
        worker.execution_options(isolation_level="AUTOCOMMIT", schema_translate_map=names)
        try:
            yield worker
        finally:
            worker.invalidate()  # its timeouts have changed


def is_complete(connection: Connection) -> bool:
    """Return whether all indexes of tasks are there and valid, and none is condemned."""
    found = _indexes(connection)
    return all(found.get(index.name) for index in tasks.indexes) and not found.keys() & {*CONDEMNED}


def complete(connection: Connection) -> None:
    """Build the missing indexes, put tasks into lanes, and drop the condemned indexes.

    The connection must be one of `alone`.
    """
    if not connection.info.get(POOLED):  # there, a session has no timeouts, and is everybody's
        # An index may take long, and waits for all transactions of others that have begun.
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SET lock_timeout = 0"))
    for statement in _builds(connection):
        connection.execute(text(statement))
    _put_into_lanes(connection)
    for name in CONDEMNED:
        connection.execute(text(_drop(name, _schema_of(connection))))


def statements(connection: Connection, schema: str | None) -> list[str]:
    """Return the SQL of what `complete` would do with indexes; nothing if they are complete.

    It needs no session of its own, and can be repeated.
    """
    if is_complete(connection):
        return []
    return [*_builds(connection, schema), *(_drop(name, schema) for name in CONDEMNED)]


def take_over(connection: Connection) -> None:
    """Put the last tasks into lanes, in the transaction that ends the reign of the tracker before.

    It does so only once after an upgrade.
    """
    if connection.execute(_KNOWN).scalar():
        return
    for namespace, lane in _lanes(connection):
        connection.execute(_MOVE_ALL, {"p_namespace": namespace, "p_lane": lane})
    connection.execute(_IN_LANES)


def _put_into_lanes(connection: Connection) -> None:
    for namespace, lane in _lanes(connection):
        for state in _OPEN_STATES:
            bound = {"p_namespace": namespace, "p_lane": lane, "p_state": state}
            moved: Sequence[str] = [_FIRST_ID] * BATCH
            while len(moved) == BATCH:
                bound["p_cursor"] = max(moved)
                moved = connection.execute(_MOVE_NEXT, bound).scalars().all()


def _lanes(connection: Connection) -> list[tuple[str, str]]:
    """Return the namespaces whose tasks are not in the plain lane, with their lanes."""
    names = connection.execute(NAMESPACES).scalars().all()
    return [(name, lane) for name in names if (lane := lane_of(name, None)) != PLAIN_LANE]


def _indexes(connection: Connection, schema: str | None = None) -> dict[Any, bool]:
    """Return the indexes of tasks by name, each with whether it is valid."""
    schema = schema or _schema_of(connection)
    table = {"p_table": f"{quoted(schema)}.tasks" if schema else "tasks"}
    return {row.relname: row.indisvalid for row in connection.execute(_INDEXES, table)}


def _builds(connection: Connection, schema: str | None = None) -> list[str]:
    """Return the SQL that builds the missing indexes beside writers."""
    schema = schema or _schema_of(connection)
    found, needed = _indexes(connection, schema), []
    for index in sorted(tasks.indexes, key=lambda index: str(index.name)):
        if found.get(index.name):
            continue
        if index.name in found:  # its build was interrupted
            needed.append(_drop(str(index.name), schema))
        needed.append(_build(index, connection.dialect, schema))
    return needed


def _build(index: Index, dialect: Dialect, schema: str | None = None) -> str:
    compiled = CreateIndex(index, if_not_exists=True).compile(
        dialect=dialect,
        schema_translate_map=schema and {None: schema},
        render_schema_translate=schema is not None,
    )
    return str(compiled).replace(" INDEX ", " INDEX CONCURRENTLY ", 1)


def _drop(name: str, schema: str | None) -> str:
    return (
        f"DROP INDEX CONCURRENTLY IF EXISTS {quoted(schema)}.{name}"
        if schema
        else (f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
    )


def _schema_of(connection: Connection) -> str | None:
    """Return the schema of a connection of `alone`; others find the tables by their search path."""
    names = connection.get_execution_options().get("schema_translate_map") or {}
    found: str | None = names.get(None)
    return found
