"""The statistics in the database: a row for each minute, namespace and task type."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Delete, Select, bindparam, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from raytasks.store.schema import stats_minutes
from raytasks.store.transaction import Transaction

_SINCE: Select[Any] = select(
    stats_minutes.c.minute,
    stats_minutes.c.namespace,
    stats_minutes.c.task_type,
    stats_minutes.c.data,
).where(stats_minutes.c.minute >= bindparam("p_minute"))

_FORGET: Delete = delete(stats_minutes).where(stats_minutes.c.minute < bindparam("p_minute"))


class MinuteRow(NamedTuple):
    """What happened in a minute (counted from the epoch). `data` is JSON text."""

    minute: int
    namespace: str
    task_type: str
    data: str


@dataclass(frozen=True, slots=True)
class StatsWrite:
    """Rows that replace those of the same minutes; what is before minute `forget` is deleted."""

    rows: Sequence[MinuteRow]
    forget: int | None = None


@cache
def _upsert(dialect: str) -> Any:
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Any = insert_into(stats_minutes)
    key = [stats_minutes.c.minute, stats_minutes.c.namespace, stats_minutes.c.task_type]
    return statement.on_conflict_do_update(
        index_elements=key, set_={"data": statement.excluded.data}
    )


def write_stats(transaction: Transaction, work: StatsWrite) -> None:
    """Write rows, and delete old ones."""
    connection = transaction.connection
    if work.rows:
        statement = _upsert(connection.dialect.name)
        connection.execute(statement, [row._asdict() for row in work.rows])
    if work.forget is not None:
        connection.execute(_FORGET, {"p_minute": work.forget})


def since(connection: Connection, minute: int) -> list[MinuteRow]:
    """Return the rows of a minute and of all later ones."""
    return [MinuteRow(*row) for row in connection.execute(_SINCE, {"p_minute": minute})]
