"""The outbox: tasks that users have committed with their own rows, until the tracker takes them.

The names of the table, of its columns and of PostgreSQL's function `raytasks_submit_v1` are
promised to stay. Writers only insert. The tracker only reads, and deletes what it takes.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Delete,
    Double,
    LargeBinary,
    Select,
    String,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    select,
)

from raytasks.model.outbox_documents import OutboxRow
from raytasks.store.schema import metadata, tasks

MAX_ROWS = 500
"""Maximum number of rows that one look returns."""

MAX_BYTES = 1024 * 1024
"""Bytes of documents that one look returns, unless its first document alone has more."""

MAX_COUNTED = 100_000
"""Maximum number of rows that are counted."""

task_outbox = Table(
    "task_outbox",
    metadata,
    Column("id", tasks.c.task_id.type, primary_key=True),
    Column("kind", String(16), nullable=False, server_default="submit"),
    Column("namespace", String(63), nullable=False, server_default="default"),
    Column("document", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)

_ID = cast(task_outbox.c.id, Text).label("id")
_THESE = task_outbox.c.id.in_(bindparam("p_ids", expanding=True))
_DOCUMENTS: Select[Any] = select(_ID, task_outbox.c.document).where(_THESE)
_ONE: Select[Any] = select(
    _ID,
    task_outbox.c.kind,
    task_outbox.c.namespace,
    task_outbox.c.document,
    task_outbox.c.created_at,
).where(task_outbox.c.id == bindparam("p_id"))
_TAKE: Delete = delete(task_outbox).where(_THESE)
_SOME = select(task_outbox.c.id).limit(bindparam("p_limit")).subquery()
_COUNT: Select[Any] = select(func.count()).select_from(_SOME)
_FIRST: Select[Any] = select(task_outbox.c.created_at).order_by(task_outbox.c.id).limit(1)


@dataclass(frozen=True, slots=True)
class OutboxLook:
    """The result of a look: the first rows, and whether there may be more."""

    rows: Sequence[OutboxRow]
    more: bool


def look(
    connection: Connection, passed_over: Collection[str], full: Collection[str], max_bytes: int
) -> OutboxLook:
    """Return the first rows by id, without those `passed_over` and of the namespaces `full`.

    All rows that are there count, whatever was seen before: transactions do not commit in the order
    of their ids. A document of more than `max_bytes` is left out: it is None.
    """
    bound: dict[str, Any] = {"p_limit": MAX_ROWS}
    if passed_over:
        bound["p_passed_over"] = sorted(passed_over)
    if full:
        bound["p_full"] = sorted(full)
    statement = _heads(connection.dialect.name, bool(passed_over), bool(full))
    heads = connection.execute(statement, bound).all()
    chosen: list[Any] = []
    total = 0
    for head in heads:
        total += head.size if head.size <= max_bytes else 0
        if chosen and total > MAX_BYTES:
            break
        chosen.append(head)
    ids = [head.id for head in chosen if head.size <= max_bytes]
    documents: dict[str, str] = {}
    if ids:
        documents = {row.id: row.document for row in connection.execute(_DOCUMENTS, {"p_ids": ids})}
    rows = [
        OutboxRow(head.id, head.kind, head.namespace, documents.get(head.id), head.created_at)
        for head in chosen
    ]
    return OutboxLook(rows, len(chosen) < len(heads) or len(heads) == MAX_ROWS)


def take(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Delete rows, and return the ids of those that were there: only these are now taken."""
    statement = _TAKE.returning(_ID)
    return set(connection.execute(statement, {"p_ids": list(ids)}).scalars())


def one(connection: Connection, task_id: str) -> OutboxRow | None:
    """Return the row of an id, or None."""
    row = connection.execute(_ONE, {"p_id": task_id}).first()
    return None if row is None else OutboxRow(*row)


def size(connection: Connection) -> tuple[int, float | None]:
    """Return the number of rows, at most `MAX_COUNTED`, and when the first one was written.

    The first one is that by id, which is about the oldest. The time is None if there is no row.
    """
    number: int = connection.execute(_COUNT, {"p_limit": MAX_COUNTED}).scalar_one()
    first: float | None = connection.execute(_FIRST).scalar()
    return number, first


@cache
def _heads(dialect: str, passes_over: bool, has_full: bool) -> Select[Any]:
    document: Any = task_outbox.c.document
    if dialect == "postgresql":
        size = func.octet_length(document)  # of the value as it is: nothing is read for it
    else:
        size = func.length(cast(document, LargeBinary))
    found = select(
        _ID,
        task_outbox.c.kind,
        task_outbox.c.namespace,
        task_outbox.c.created_at,
        size.label("size"),
    )
    if passes_over:
        found = found.where(task_outbox.c.id.not_in(bindparam("p_passed_over", expanding=True)))
    if has_full:
        found = found.where(task_outbox.c.namespace.not_in(bindparam("p_full", expanding=True)))
    return found.order_by(task_outbox.c.id).limit(bindparam("p_limit"))
