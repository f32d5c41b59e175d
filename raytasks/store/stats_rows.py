"""The statistics in the database: a row for each minute, namespace and task type."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from msgspec import json
from sqlalchemy import Connection, Delete, Select, bindparam, delete, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from raytasks.model.tallies import Tally
from raytasks.store.metric_rows import HistogramRow, write_histograms
from raytasks.store.service_tables import stats_minutes
from raytasks.store.transaction import Transaction

_SINCE: Select[Any] = select(
    stats_minutes.c.minute,
    stats_minutes.c.namespace,
    stats_minutes.c.task_type,
    stats_minutes.c.data,
).where(stats_minutes.c.minute >= bindparam("p_minute"))

_KEY = [stats_minutes.c.minute, stats_minutes.c.namespace, stats_minutes.c.task_type]
_PAIR = _KEY[1:]

_SLICE: Select[Any] = (
    select(*_KEY, stats_minutes.c.data)
    .where(
        tuple_(*_KEY) > tuple_(bindparam("p_minute"), bindparam("p_namespace"), bindparam("p_type"))
    )
    .order_by(*_KEY)
    .limit(bindparam("p_limit"))
)

_BETWEEN = (stats_minutes.c.minute >= bindparam("p_first")) & (
    stats_minutes.c.minute < bindparam("p_end")
)

_FINE: Select[Any] = (
    select(stats_minutes.c.minute)
    .where(_BETWEEN, stats_minutes.c.minute > bindparam("p_first"))
    .limit(1)
)

_BY_PAIR: Select[Any] = (
    select(*_KEY, stats_minutes.c.data)
    .where(_BETWEEN, tuple_(*_PAIR) > tuple_(bindparam("p_namespace"), bindparam("p_type")))
    .order_by(*_PAIR, stats_minutes.c.minute)
    .limit(bindparam("p_limit"))
)

_FOLD: Delete = delete(stats_minutes).where(
    _BETWEEN,
    stats_minutes.c.minute > bindparam("p_first"),
    stats_minutes.c.namespace == bindparam("p_namespace"),
    stats_minutes.c.task_type == bindparam("p_type"),
)

_FORGET: Delete = delete(stats_minutes).where(
    tuple_(*_KEY).in_(
        select(*_KEY)
        .where(stats_minutes.c.minute < bindparam("p_minute"))
        .order_by(*_KEY)
        .limit(bindparam("p_limit"))
    )
)

MAX_FORGOTTEN = 2000
"""Maximum number of rows that one transaction deletes."""

RowKey = tuple[int, str, str]
"""The key of a row: its minute, namespace and task type."""


class MinuteRow(NamedTuple):
    """The statistics of a minute (counted from the epoch). `data` is JSON: see `tallies_of`."""

    minute: int
    namespace: str
    task_type: str
    data: str


tallies_of = json.Decoder(dict[str, Tally]).decode
"""Return the tallies in the data of a row, by the second of the minute in which they began."""


@dataclass(frozen=True, slots=True)
class StatsWrite:
    """Rows that replace those of the same minutes; old ones before minute `forget` are deleted.

    Each of the `histograms` replaces the one of its namespace and type.
    """

    rows: Sequence[MinuteRow]
    forget: int | None = None
    histograms: Sequence[HistogramRow] = ()


@cache
def _upsert(dialect: str) -> Any:
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Any = insert_into(stats_minutes)
    key = [stats_minutes.c.minute, stats_minutes.c.namespace, stats_minutes.c.task_type]
    return statement.on_conflict_do_update(
        index_elements=key, set_={"data": statement.excluded.data}
    )


def write_stats(transaction: Transaction, work: StatsWrite) -> None:
    """Write rows, and delete some old ones."""
    _write(transaction, work.rows)
    write_histograms(transaction.connection, work.histograms)
    if work.forget is not None:
        forget(transaction, work.forget)


def fold(transaction: Transaction, first: int, end: int, rows: Sequence[MinuteRow]) -> None:
    """Write folded rows at minute `first`, and delete their pairs' other rows before `end`."""
    _write(transaction, rows)
    bound = [
        {"p_first": first, "p_end": end, "p_namespace": row.namespace, "p_type": row.task_type}
        for row in rows
    ]
    if bound:
        transaction.connection.execute(_FOLD, bound)


def forget(transaction: Transaction, minute: int) -> int:
    """Delete rows from before a minute, at most `MAX_FORGOTTEN`; return how many."""
    bound = {"p_minute": minute, "p_limit": MAX_FORGOTTEN}
    return transaction.connection.execute(_FORGET, bound).rowcount


def since(connection: Connection, minute: int) -> list[MinuteRow]:
    """Return the rows of a minute and of all later ones."""
    return [MinuteRow(*row) for row in connection.execute(_SINCE, {"p_minute": minute})]


def after(connection: Connection, key: RowKey, limit: int) -> list[MinuteRow]:
    """Return the next rows behind a key, in order; a key of empty texts is before its minute."""
    minute, namespace, task_type = key
    bound = {"p_minute": minute, "p_namespace": namespace, "p_type": task_type, "p_limit": limit}
    return [MinuteRow(*row) for row in connection.execute(_SLICE, bound)]


def is_fine(connection: Connection, first: int, end: int) -> bool:
    """Return whether minutes after the first have rows of their own, up to minute `end`."""
    return connection.execute(_FINE, {"p_first": first, "p_end": end}).first() is not None


def by_pair(
    connection: Connection, first: int, end: int, pair: tuple[str, str], limit: int
) -> list[MinuteRow]:
    """Return rows from `first` to before `end`, ordered by pair, for the pairs behind `pair`."""
    namespace, task_type = pair
    bound = {"p_namespace": namespace, "p_type": task_type, "p_limit": limit}
    bound |= {"p_first": first, "p_end": end}
    return [MinuteRow(*row) for row in connection.execute(_BY_PAIR, bound)]


def _write(transaction: Transaction, rows: Sequence[MinuteRow]) -> None:
    if rows:
        connection = transaction.connection
        connection.execute(_upsert(connection.dialect.name), [row._asdict() for row in rows])
