"""The outbox: tasks that users have committed with their own rows, until the tracker takes them.

The names of the table, of its columns and of PostgreSQL's function `raytasks_submit_v1` are
promised to stay. Writers only insert. The tracker only reads, and deletes what it takes.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
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
    literal_column,
    null,
    select,
)
from sqlalchemy.exc import DBAPIError

from raytasks.model.outbox_documents import OUTBOX_TABLE, OutboxRow
from raytasks.store.cursors import driver_errors
from raytasks.store.outbox_values import any_text, is_id, place_of, row_of, rowid_of, time_of
from raytasks.store.refusals import is_locked
from raytasks.store.schema import metadata, tasks

MAX_ROWS = 500
"""Maximum number of rows that one look returns."""

MAX_BYTES = 1024 * 1024
"""Bytes of documents that one look returns, unless its first document alone has more."""

MAX_COUNTED = 100_000
"""Maximum number of rows that are counted."""

task_outbox = Table(
    OUTBOX_TABLE,
    metadata,
    Column("id", tasks.c.task_id.type, primary_key=True),
    Column("kind", String(16), nullable=False, server_default="submit"),
    Column("namespace", String(63), nullable=False, server_default="default"),
    Column("document", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)

_ID = cast(task_outbox.c.id, Text).label("id")
_ROWID: ColumnElement[Any] = literal_column("task_outbox.rowid")
_THESE = task_outbox.c.id.in_(bindparam("p_ids", expanding=True))
_PLACES = _ROWID.in_(bindparam("p_rowids", expanding=True))
_DOCUMENTS: Select[Any] = select(_ID, task_outbox.c.document).where(_THESE)
_ONE: Select[Any] = select(
    _ID,
    task_outbox.c.kind,
    task_outbox.c.namespace,
    task_outbox.c.document,
    task_outbox.c.created_at,
).where(task_outbox.c.id == bindparam("p_id"))
_HERE: Select[Any] = select(_ID).where(_THESE)
_TAKE: Delete = delete(task_outbox).where(_THESE)
_FREE = select(task_outbox.c.id).where(_THESE).with_for_update(skip_locked=True)
_TAKE_FREE: Delete = delete(task_outbox).where(task_outbox.c.id.in_(_FREE))
_LOCK = (
    f"SAVEPOINT outbox; LOCK TABLE {OUTBOX_TABLE} IN ROW EXCLUSIVE MODE NOWAIT; "
    "RELEASE SAVEPOINT outbox"
)
_UNLOCK = "ROLLBACK TO SAVEPOINT outbox; RELEASE SAVEPOINT outbox"
_AT: Select[Any] = select(_ROWID, task_outbox.c.id).where(_PLACES)
_TAKE_AT: Delete = delete(task_outbox).where(_PLACES)
_SOME = select(task_outbox.c.id).limit(bindparam("p_limit")).subquery()
_COUNT: Select[Any] = select(func.count()).select_from(_SOME)
_FIRST: Select[Any] = select(_ID, task_outbox.c.created_at).order_by(task_outbox.c.id).limit(1)
_FIRST_AT: Select[Any] = (
    select(task_outbox.c.id, task_outbox.c.created_at, _ROWID.label("rowid"))
    .order_by(task_outbox.c.id)
    .limit(1)
)


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
    ids, rowids = _apart(passed_over)
    given = {"p_passed_over": sorted(ids), "p_rowids": rowids, "p_full": sorted(full)}
    bound: dict[str, Any] = {name: values for name, values in given.items() if values}
    statement = _heads(connection.dialect.name, frozenset(bound))
    with any_text(connection):
        heads = connection.execute(statement, bound | {"p_limit": MAX_ROWS}).all()
        chosen: list[Any] = []
        total = 0
        for head in heads:
            total += head.size if head.size <= max_bytes else 0
            if chosen and total > MAX_BYTES:
                break
            chosen.append(head)
        ids = [head.id for head in chosen if head.size <= max_bytes and is_id(head.id)]
        documents: dict[str, Any] = {}
        if ids:
            rows = connection.execute(_DOCUMENTS, {"p_ids": ids})
            documents = {row.id: row.document for row in rows}
    found = [
        row_of(
            *(head.id, head.kind, head.namespace, head.created_at),
            document=documents.get(head.id),
            rowid=head.rowid,
        )
        for head in chosen
    ]
    return OutboxLook(found, len(chosen) < len(heads) or len(heads) == MAX_ROWS)


@dataclass(frozen=True, slots=True)
class TakenRows:
    """The result of a take: the ids of the rows that it has deleted, and of those it had to leave.

    Others hold locks on the latter. A row that is in neither was gone before.
    """

    taken: set[str]
    locked: set[str]


def take(connection: Connection, row_ids: Sequence[str]) -> TakenRows:
    """Delete rows that are there. It waits for nobody's lock: what is locked stays where it is."""
    if connection.dialect.name == "postgresql":
        return _take_free(connection, row_ids)
    ids, rowids = _apart(row_ids)
    taken: set[str] = set()
    if ids:
        statement = _TAKE.returning(_ID)
        taken.update(connection.execute(statement, {"p_ids": ids}).scalars())
    if rowids:
        with any_text(connection):
            rows = connection.execute(_AT, {"p_rowids": rowids}).all()
        # VACUUM gives rows other places: what has an id is another row now.
        rowids = [rowid for rowid, row_id in rows if not is_id(row_id)]
        connection.execute(_TAKE_AT, {"p_rowids": rowids})
        taken.update(map(place_of, rowids))
    return TakenRows(taken, set())


def _take_free(connection: Connection, row_ids: Sequence[str]) -> TakenRows:
    """Take rows of PostgreSQL, where other sessions may hold locks on rows or on the table."""
    if not _lock_table(connection):
        return TakenRows(set(), set(row_ids))
    statement = _TAKE_FREE.returning(_ID)
    taken = set(connection.execute(statement, {"p_ids": list(row_ids)}).scalars())
    left = [row_id for row_id in row_ids if row_id not in taken]
    # One that somebody is deleting just now is still there.
    return TakenRows(taken, there(connection, left))


def _lock_table(connection: Connection) -> bool:
    """Take the lock on the table that a deletion needs; return whether it is free.

    In vain, the transaction goes on as before.
    """
    driver: Any = connection.connection.driver_connection
    try:
        with driver_errors(connection, _LOCK):
            driver.cursor().execute(_LOCK, prepare=False)
    except DBAPIError as error:
        if not is_locked(error.orig):
            raise
        with driver_errors(connection, _UNLOCK):
            driver.cursor().execute(_UNLOCK, prepare=False)
        return False
    return True


def there(connection: Connection, row_ids: Collection[str]) -> set[str]:
    """Return those of the rows that are there, locked ones among them."""
    ids, rowids = _apart(row_ids)
    found: set[str] = set()
    if ids:
        found.update(connection.execute(_HERE, {"p_ids": ids}).scalars())
    if rowids:
        with any_text(connection):
            rows = connection.execute(_AT, {"p_rowids": rowids}).all()
        found.update(place_of(rowid) for rowid, row_id in rows if not is_id(row_id))
    return found


def one(connection: Connection, task_id: str) -> OutboxRow | None:
    """Return the row of an id, or None."""
    with any_text(connection):
        row = connection.execute(_ONE, {"p_id": task_id}).first()
    if row is None:
        return None
    return row_of(row.id, row.kind, row.namespace, row.created_at, document=row.document)


@dataclass(frozen=True, slots=True)
class OutboxSize:
    """How many rows there are, at most `MAX_COUNTED`; the id of the first, and when it was written.

    The first one is that by id, which is about the oldest; None if there is none. Its time is 0.0
    if it is none.
    """

    rows: int
    first_id: str | None = None
    first_at: float = 0.0


def size(connection: Connection) -> OutboxSize:
    """Return how many rows there are."""
    number: int = connection.execute(_COUNT, {"p_limit": MAX_COUNTED}).scalar_one()
    statement = _FIRST if connection.dialect.name == "postgresql" else _FIRST_AT
    with any_text(connection):
        first = connection.execute(statement).first()
    if first is None:
        return OutboxSize(number)
    name = first.id if is_id(first.id) else place_of(first.rowid)
    return OutboxSize(number, name, time_of(first.created_at))


def _apart(row_ids: Iterable[str]) -> tuple[list[str], list[int]]:
    """Return the ids among the ids of rows, and the places of rows without an id."""
    ids: list[str] = []
    rowids: list[int] = []
    for row_id in row_ids:
        rowid = rowid_of(row_id)
        if rowid is None:
            ids.append(row_id)
        else:
            rowids.append(rowid)
    return ids, rowids


@cache
def _heads(dialect: str, given: frozenset[str]) -> Select[Any]:
    document: Any = task_outbox.c.document
    row_id: Any
    rowid: Any
    if dialect == "postgresql":
        size = func.octet_length(document)  # of the value as it is: nothing is read for it
        row_id, rowid = _ID, null()
    else:
        size = func.length(cast(document, LargeBinary))
        row_id, rowid = task_outbox.c.id, _ROWID
    found = select(
        row_id,
        task_outbox.c.kind,
        task_outbox.c.namespace,
        task_outbox.c.created_at,
        size.label("size"),
        rowid.label("rowid"),
    )
    if "p_passed_over" in given:
        found = found.where(task_outbox.c.id.not_in(bindparam("p_passed_over", expanding=True)))
    if "p_rowids" in given:
        found = found.where(_ROWID.not_in(bindparam("p_rowids", expanding=True)))
    if "p_full" in given:
        found = found.where(task_outbox.c.namespace.not_in(bindparam("p_full", expanding=True)))
    return found.order_by(task_outbox.c.id).limit(bindparam("p_limit"))
