"""The places of attempts: the processes of warm runners, each stored once for its many attempts.

The two ids of Ray alone are 112 characters, which each attempt would write into the database and
its log. An attempt that is a Ray remote task of its own keeps its place itself, as does one from
before 0.6.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from msgspec.structs import astuple
from sqlalchemy import (
    Column,
    Connection,
    Double,
    Index,
    Integer,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    update,
)

from raytasks.model.tasks import AttemptRecord, StoreUnavailable
from raytasks.store.schema import attempts, metadata
from raytasks.store.statements import param

attempt_places = Table(
    "attempt_places",
    metadata,
    Column("place_id", Integer, primary_key=True),
    Column("node_id", String(64)),
    Column("worker_id", String(64), nullable=False),
    Column("host", String(255)),
    Column("pid", Integer),
    Column("seen_at", Double, nullable=False),  # by attempts that ended then, or soon after
    sqlite_autoincrement=True,  # an id is never given out again
)
Index("ix_attempt_places_seen_at", attempt_places.c.seen_at)

SEEN_SECONDS = 86_400.0
"""Seconds after which a place that is still used is marked as seen again."""

KNOWN = 10_000
"""Maximum number of places that are remembered."""

_COLUMNS = ("node_id", "worker_id", "host", "pid")
_FIELDS = AttemptRecord.__struct_fields__
_NODE, _HOST = _FIELDS.index("node_id"), _FIELDS.index("host")
assert _FIELDS[_NODE : _NODE + 2] == _COLUMNS[:2]
assert _FIELDS[_HOST:] == _COLUMNS[2:]

_ADD = insert(attempt_places).returning(attempt_places.c.place_id)
_SEE = (
    update(attempt_places)
    .where(attempt_places.c.place_id == param("place_id"))
    .values(seen_at=param("now"))
)

COLUMNS: list[Any] = [
    func.coalesce(attempts.c[name], attempt_places.c[name]).label(name)
    if name in _COLUMNS
    else attempts.c[name]
    for name in _FIELDS
]
"""The columns of an `AttemptRecord`, in `ATTEMPTS`."""

ATTEMPTS = attempts.outerjoin(attempt_places, attempts.c.place_id == attempt_places.c.place_id)
"""The attempts, each with its place."""


class AttemptPlace(NamedTuple):
    """Where attempts run: the ids of the node and the process in Ray, and in the machine."""

    node_id: str | None
    worker_id: str
    host: str | None
    pid: int | None


class InTransaction(Protocol):
    """A transaction."""

    @property
    def connection(self) -> Connection:
        """Its connection, when all that was written before is complete."""


class Known(NamedTuple):
    """A stored place: its id, and when it was marked as seen."""

    place_id: int
    seen_at: float


class Places:
    """The places that are known to be stored: only what is committed, and not yet lost again."""

    def __init__(self) -> None:
        self.known: dict[AttemptPlace, Known] = {}

    @contextmanager
    def storing(self) -> Iterator["NewPlaces"]:
        """Yield the places of one transaction, whose commit is the end of the block.

        When the database goes away, all are forgotten: its successor may not have the last ones.
        """
        new = NewPlaces(self.known)
        try:
            yield new
        except StoreUnavailable:
            self.known = {}
            raise
        if new.stored:
            if len(self.known) + len(new.stored) > KNOWN:
                self.known = {}
            self.known |= new.stored


class NewPlaces:
    """The places of one transaction: those that are `known`, and those that it has `stored`."""

    def __init__(self, known: Mapping[AttemptPlace, Known]) -> None:
        self._known = known
        self.stored: dict[AttemptPlace, Known] = {}

    def rows(
        self, ended: Iterable[AttemptRecord], transaction: InTransaction, now: float
    ) -> list[tuple[Any, ...]]:
        """Return the rows of attempts for `batch_statements.RECORD`; store places of theirs."""
        rows: list[tuple[Any, ...]] = []
        for attempt in ended:
            values = astuple(attempt)
            if attempt.worker_id is None or attempt.ray_task_id is not None:
                rows.append((*values, None))
                continue
            place = AttemptPlace(attempt.node_id, attempt.worker_id, attempt.host, attempt.pid)
            known = self.stored.get(place) or self._known.get(place)
            if known is None or now - known.seen_at > SEEN_SECONDS:
                known = self.stored[place] = _store(transaction.connection, place, known, now)
            between = values[_NODE + 2 : _HOST]
            rows.append((*values[:_NODE], None, None, *between, None, None, known.place_id))
        return rows


def _store(connection: Connection, place: AttemptPlace, known: Known | None, now: float) -> Known:
    """Store a place, or mark it as seen."""
    if known is not None:
        bound = {"p_place_id": known.place_id, "p_now": now}
        if connection.execute(_SEE, bound).rowcount:
            return Known(known.place_id, now)
    place_id = connection.execute(_ADD, {**place._asdict(), "seen_at": now}).scalar_one()
    return Known(place_id, now)


def forget(connection: Connection, before: float, limit: int) -> int:
    """Delete places that no attempt has used since `before`, at most `limit`; return how many.

    An older attempt of a task that is still open loses its place.
    """
    old = (
        select(attempt_places.c.place_id)
        .where(attempt_places.c.seen_at < before - 2 * SEEN_SECONDS)
        .order_by(attempt_places.c.seen_at)
        .limit(limit)
    )
    return connection.execute(
        delete(attempt_places).where(attempt_places.c.place_id.in_(old))
    ).rowcount
