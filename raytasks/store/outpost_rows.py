"""The messages between clusters that share a database: signs of life, calls, answers.

A superseded cluster is an outpost: it writes calls, and the cluster that reigns answers them. The
outpost writes only rows of its own here. What it asks for is done by the cluster that reigns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Struct
from msgspec.structs import asdict
from sqlalchemy import (
    Connection,
    Delete,
    Insert,
    Select,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from raytasks.store.outpost_tables import outpost_answers, outpost_calls, reigns
from raytasks.store.read_statements import EPOCH
from raytasks.store.schema import RUNNING, tasks
from raytasks.store.statements import param

MAX_CALLS = 500
"""Maximum number of calls that are read at a time."""


@dataclass(frozen=True)
class Cluster:
    """A cluster as the database knows it.

    - `owner`: its tracker's actor, the same in all its lives.
    - `host`: the name of the tracker's machine, for people.
    - `is_alone`: no other cluster can use the database, as it is a file that this one has locked.
    """

    owner: str = ""
    host: str = ""
    is_alone: bool = False


@dataclass(frozen=True)
class Reign:
    """A cluster that reigns, or whose runners may still work; see `outpost_tables.reigns`."""

    owner: str
    epoch: int
    host: str
    seat: str | None
    beat: int


class OutpostCall(Struct, frozen=True):
    """A call of an outpost. The `document` is encoded by `protocol.codec`.

    It is of the version `protocol`, and its sender `needs` one at least: see `protocol_version`.
    """

    seat: str
    number: int
    method: str
    document: bytes
    protocol: int = 0
    needs: int = 0


class OutpostAnswer(Struct, frozen=True):
    """The answer to a call: a document, or the class and the text of an error."""

    seat: str
    number: int
    document: bytes | None
    error: str | None = None
    message: str | None = None


_REIGNS: Select[Any] = select(
    reigns.c.owner, reigns.c.epoch, reigns.c.host, reigns.c.seat, reigns.c.beat
).order_by(reigns.c.epoch, reigns.c.owner)
_BEAT: Update = (
    update(reigns)
    .where(reigns.c.owner == param("owner"))
    .values(seat=param("seat"), beat=reigns.c.beat + 1, renewed_at=param("now"))
)
_REIGN: Insert = insert(reigns)
_FORGET: Delete = delete(reigns).where(reigns.c.owner == param("owner"))
_CALL: Insert = insert(outpost_calls)
_ANSWER: Insert = insert(outpost_answers)
_CALLS: Select[Any] = (
    select(*(outpost_calls.c[name] for name in OutpostCall.__struct_fields__))
    .where(outpost_calls.c.seat == param("seat"), outpost_calls.c.number > param("after"))
    .order_by(outpost_calls.c.number)
    .limit(MAX_CALLS)
)
_ANSWERS: Select[Any] = (
    select(outpost_answers)
    .where(outpost_answers.c.seat == param("seat"))
    .order_by(outpost_answers.c.number)
    .limit(MAX_CALLS)
)
_HELD: Select[Any] = (
    select(func.count())
    .select_from(tasks)
    .where(RUNNING, tasks.c.runner_id.in_(bindparam("p_runner_ids", expanding=True)))
)


def _one_of(table: Any) -> Delete:
    return delete(table).where(
        table.c.seat == param("seat"), table.c.number.in_(bindparam("p_numbers", expanding=True))
    )


@dataclass(frozen=True)
class OutpostView:
    """The view of an outpost: who reigns, with its last renewal, all reigns, and its answers."""

    owner: str | None
    renewed_at: float
    reigns: Sequence[Reign]
    answers: Sequence[OutpostAnswer]


_DROP_CALLS, _DROP_ANSWERS = _one_of(outpost_calls), _one_of(outpost_answers)


def read_reigns(connection: Connection) -> list[Reign]:
    """Return the clusters that reign, or whose runners may still work, by their last epochs."""
    return [Reign(*row) for row in connection.execute(_REIGNS)]


def begin_reign(connection: Connection, owner: str, epoch: int, host: str, now: float) -> None:
    """Write that a cluster reigns from now on, or did so last with this epoch."""
    connection.execute(_FORGET, {"p_owner": owner})
    row = {"owner": owner, "epoch": epoch, "host": host, "beat": 0, "renewed_at": now}
    connection.execute(_REIGN, row)


def beat(connection: Connection, reign: Reign, now: float) -> None:
    """Give a sign of life of an outpost. Its row comes back if the successor has deleted it."""
    bound = {"p_owner": reign.owner, "p_seat": reign.seat, "p_now": now}
    if connection.execute(_BEAT, bound).rowcount != 1:
        begin_reign(connection, reign.owner, reign.epoch, reign.host, now)
        connection.execute(_BEAT, bound)


def call(
    connection: Connection, seat: str, calls: Sequence[OutpostCall], over: Sequence[int]
) -> None:
    """Write calls of a seat. The numbers in `over` need no answer any more."""
    if over:
        bound = {"p_seat": seat, "p_numbers": list(over)}
        connection.execute(_DROP_CALLS, bound)
        connection.execute(_DROP_ANSWERS, bound)
    if calls:
        connection.execute(_CALL, [asdict(item) for item in calls])


def read_calls(connection: Connection, seat: str, after: int) -> list[OutpostCall]:
    """Return the next calls of a seat after a number, in order: at most `MAX_CALLS`."""
    rows = connection.execute(_CALLS, {"p_seat": seat, "p_after": after})
    return [OutpostCall(*row) for row in rows]


def read_answers(connection: Connection, seat: str) -> list[OutpostAnswer]:
    """Return the answers that a seat has not taken yet: at most `MAX_CALLS`."""
    rows = connection.execute(_ANSWERS, {"p_seat": seat})
    return [OutpostAnswer(*row) for row in rows]


def read_view(connection: Connection, seat: str) -> OutpostView:
    """Return what an outpost sees, as of one moment."""
    row = connection.execute(EPOCH).one()
    answers = read_answers(connection, seat)
    return OutpostView(row.owner, row.renewed_at, read_reigns(connection), answers)


def answer(connection: Connection, answers: Sequence[OutpostAnswer]) -> None:
    """Write answers, and delete their calls. Safe to repeat. A call that is over gets none."""
    by_seat: dict[str, dict[int, OutpostAnswer]] = {}
    for item in answers:
        by_seat.setdefault(item.seat, {})[item.number] = item
    for seat, items in by_seat.items():
        open_ones = delete(outpost_calls).where(
            outpost_calls.c.seat == seat, outpost_calls.c.number.in_(list(items))
        )
        numbers = connection.execute(open_ones.returning(outpost_calls.c.number)).scalars().all()
        rows = [
            {
                "seat": seat,
                "number": number,
                "document": items[number].document,
                "error": items[number].error,
                "message": items[number].message,
            }
            for number in sorted(numbers)
        ]
        if rows:
            connection.execute(_ANSWER, rows)


def forget_reigns(connection: Connection, owners: Sequence[str]) -> None:
    """Delete the reigns of clusters that have ended, and all that no seat needs any more."""
    for owner in owners:
        connection.execute(_FORGET, {"p_owner": owner})
    for table in (outpost_calls, outpost_answers):
        seats = select(reigns.c.seat).where(reigns.c.seat.is_not(None))
        connection.execute(delete(table).where(table.c.seat.not_in(seats)))


def count_held(connection: Connection, runner_ids: Sequence[str]) -> int:
    """Return how many attempts run that these runners hold."""
    bound = {"p_runner_ids": list(runner_ids)}
    return int(connection.execute(_HELD, bound).scalar_one())
