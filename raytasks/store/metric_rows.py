"""The rows of totals and histograms in the database, and the oldest due times of tasks."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, String, bindparam, func, select, union_all
from sqlalchemy.dialects import postgresql, sqlite

from raytasks.store.count_changes import Total
from raytasks.store.schema import READY, histograms, tasks, totals

_TOTALS: Select[Any] = select(
    totals.c.namespace, totals.c.task_type, totals.c.name, totals.c.value
).order_by(totals.c.namespace, totals.c.task_type, totals.c.name)

_HISTOGRAMS: Select[Any] = select(
    histograms.c.namespace, histograms.c.task_type, histograms.c.data
).order_by(histograms.c.namespace, histograms.c.task_type)

_TYPES_AT_ONCE = 100


class HistogramRow(NamedTuple):
    """The histograms of a namespace's task type since ever. `data` is JSON text."""

    namespace: str
    task_type: str
    data: str


def read_totals(connection: Connection) -> dict[Total, int]:
    """Return all totals."""
    rows = connection.execute(_TOTALS)
    return {(namespace, task_type, name): value for namespace, task_type, name, value in rows}


def read_histograms(connection: Connection) -> list[HistogramRow]:
    """Return all histograms."""
    return [HistogramRow(*row) for row in connection.execute(_HISTOGRAMS)]


@cache
def _upsert(dialect: str) -> Any:
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Any = insert_into(histograms)
    return statement.on_conflict_do_update(
        index_elements=[histograms.c.namespace, histograms.c.task_type],
        set_={"data": statement.excluded.data},
    )


def write_histograms(connection: Connection, rows: Sequence[HistogramRow]) -> None:
    """Write rows; each replaces the one of the same namespace and type."""
    if rows:
        connection.execute(_upsert(connection.dialect.name), [row._asdict() for row in rows])


@cache
def oldest_due_statement(types: int) -> Any:
    """Return the statement for the oldest due time of some types, each among its first tasks."""
    return union_all(
        *[
            select(bindparam(f"p_name_{i}", type_=String), func.min(first.c.run_at))
            for i in range(types)
            for first in [
                select(tasks.c.run_at)
                .where(READY, tasks.c.task_type == bindparam(f"p_type_{i}"))
                .order_by(tasks.c.rank, tasks.c.task_id)
                .limit(bindparam("p_limit"))
                .subquery()
            ]
        ]
    )


def oldest_due(connection: Connection, task_types: Sequence[str], limit: int) -> dict[str, float]:
    """Return the oldest due time by type, among the first `limit` due tasks of each type.

    "First" is the order of claims. A type without due tasks is not in it.
    """
    found: dict[str, float] = {}
    for start in range(0, len(task_types), _TYPES_AT_ONCE):
        names = task_types[start : start + _TYPES_AT_ONCE]
        bound: dict[str, Any] = {"p_limit": limit}
        for i, name in enumerate(names):
            bound |= {f"p_type_{i}": name, f"p_name_{i}": name}
        rows = connection.execute(oldest_due_statement(len(names)), bound)
        found |= {name: due_at for name, due_at in rows if due_at is not None}
    return found
