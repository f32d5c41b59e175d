"""The rows of histograms in the database."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, select
from sqlalchemy.dialects import postgresql, sqlite

from raytasks.store.service_tables import histograms

_HISTOGRAMS: Select[Any] = select(
    histograms.c.namespace, histograms.c.task_type, histograms.c.data
).order_by(histograms.c.namespace, histograms.c.task_type)


class HistogramRow(NamedTuple):
    """The histograms of a namespace's task type since ever. `data` is JSON text."""

    namespace: str
    task_type: str
    data: str


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
