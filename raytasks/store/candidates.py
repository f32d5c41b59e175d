"""The tasks that may be claimed next: the first ready ones of some lanes, by rank.

PostgreSQL is asked for all lanes in one statement, SQLite for some that are to give as many. Where
a lane goes on, PostgreSQL tells by one row more; a look into the index beside each row costs it
three times as much. SQLite does that in half the time of a row.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from operator import attrgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    Double,
    FromClause,
    Integer,
    Select,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    true,
    tuple_,
    values,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from raytasks.store.compiled import CompiledQuery, arrays, postgres_dialect, sqlite_dialect
from raytasks.store.cursors import Direct
from raytasks.store.lane_rows import LaneAsk
from raytasks.store.schema import READY, tasks

MAX_CLAIMS = 10_000
"""Maximum number of tasks that one tick claims."""

_SIZES = (1, 8, 64)
"""Numbers of lanes for which SQLite has a statement; the last one is the maximum."""

_READ_BYTES = 16 * 1024 * 1024

_ASKED: dict[str, TypeEngine[Any]] = {
    "task_type": Text(),
    "lane": Text(),
    "floor": Double(),
    "most": Integer(),
}

# The values of each lane that SQLite is asked for, in the order of a question, and their names.
_OF_LANE = LaneAsk._fields[:3]
_GIVEN = [[f"p_{name}_{place}" for name in _OF_LANE] for place in range(_SIZES[-1])]

_PLACE = attrgetter("rank", "task_id")

_BODIES = select(cast(tasks.c.task_id, Text), tasks.c.payload, tasks.c.checkpoint).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)


_FREE = (
    select(cast(tasks.c.task_id, Text))
    .where(tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True)))
    .with_for_update(skip_locked=True)
)


class Candidate(Struct, frozen=True):
    """A task that may be claimed, in its present state.

    A payload or a checkpoint that is not short is None here. The sizes are in bytes on PostgreSQL
    and in characters on SQLite; that of a checkpoint is None if there is none. On SQLite the flag
    `cancel_requested` is 0 or 1. The rank of the next one in its lane is None if there is none, or
    if it was not asked for. PostgreSQL gives one row more instead.
    """

    task_id: str
    task_type: str
    state: str
    rank: float
    priority: int
    attempt: int
    payload: str | None
    failures: int
    crashes: int
    max_attempts: int
    timeout_seconds: float | None
    checkpoint: str | None
    namespace: str
    revision: int
    tags: str | None
    payload_ref: str | None
    started_at: float | None
    company: int | None
    checkpoint_ref: str | None
    trace_context: str | None
    unique_spec: str | None
    expires_at: float | None
    payload_size: int
    checkpoint_size: int | None
    lane: str
    limit_values: str | None
    callback_url: str | None
    scheduled_for: float | None
    cancel_requested: bool
    next_rank: float | None = None

    @property
    def size(self) -> int:
        """The size of its payload and its checkpoint together."""
        return self.payload_size + (self.checkpoint_size or 0)

    @property
    def is_filled(self) -> bool:
        """Whether its payload and its checkpoint are here, if it has one."""
        return self.payload is not None and (self.checkpoint is None) == (
            self.checkpoint_size is None
        )


def read_candidates(direct: Direct, asks: Sequence[LaneAsk], *, postgres: bool) -> list[Candidate]:
    """Return the first ready tasks of some lanes, the best rank first over all of them.

    Together they are at most `MAX_CLAIMS`: of larger questions each gets its share. The more tasks,
    the shorter a text must be to be read at once. So all texts together have at most
    `_READ_BYTES`.
    """
    if not asks:
        return []
    asks = limited(asks)
    short = _READ_BYTES // sum(ask.with_next for ask in asks)
    if postgres:
        values_of = [(*ask[: len(_OF_LANE)], ask.with_next) for ask in asks]
        given = dict(zip((f"p_{name}" for name in _ASKED), arrays(values_of), strict=True))
        rows = direct.read(_of_all_lanes(), {**given, "p_short": short})
    else:
        rows = []
        for query, bound in _small_questions(asks, short):
            rows += direct.read(query, bound)
    found = [Candidate(*row) for row in rows]
    if len(asks) > 1:
        found.sort(key=_PLACE)
    return found


def filled(
    connection: Connection, chosen: Sequence[tuple[Candidate, str]]
) -> list[tuple[Candidate, str]]:
    """Return candidates with all payloads and checkpoints, also the long ones."""
    ids = [row.task_id for row, _ in chosen if not row.is_filled]
    rows = connection.execute(_BODIES, {"p_task_ids": ids})
    bodies = {task_id: (payload, checkpoint) for task_id, payload, checkpoint in rows}
    return [
        (
            replace(row, payload=bodies[row.task_id][0], checkpoint=bodies[row.task_id][1])
            if row.task_id in bodies
            else row,
            runner_id,
        )
        for row, runner_id in chosen
    ]


def locked_among(connection: Connection, rows: Sequence[Candidate]) -> set[str]:
    """Lock stored candidates, and return the ids of those that others have locked."""
    if connection.dialect.name != "postgresql" or not rows:
        return set()
    ids = [row.task_id for row in rows]
    return set(ids).difference(connection.execute(_FREE, {"p_task_ids": ids}).scalars())


def limited(asks: Sequence[LaneAsk]) -> Sequence[LaneAsk]:
    """Return questions that find at most `MAX_CLAIMS` tasks in all."""
    total = sum(ask.limit for ask in asks)
    if total <= MAX_CLAIMS:
        return asks
    return [
        ask._replace(limit=max(1, ask.limit * MAX_CLAIMS // total)) for ask in asks[:MAX_CLAIMS]
    ]


def _small_questions(
    asks: Sequence[LaneAsk], short: int
) -> Iterator[tuple[CompiledQuery, dict[str, Any]]]:
    """Yield the queries of SQLite for the first tasks of some lanes, with their values."""
    by_limit: dict[tuple[int, bool], list[LaneAsk]] = {}
    for ask in asks:
        by_limit.setdefault((ask.limit, ask.looks_on), []).append(ask)
    for (most, looks_on), alike in by_limit.items():
        for begin in range(0, len(alike), _SIZES[-1]):
            some = alike[begin : begin + _SIZES[-1]]
            size = next(size for size in _SIZES if size >= len(some))
            bound: dict[str, Any] = {
                "p_most": most,
                "p_looks_on": looks_on,
                "p_short": short,
            }
            for names, ask in zip(_GIVEN, some, strict=False):
                bound.update(zip(names, ask, strict=False))
            yield _of_some_lanes(size), bound


@cache
def _of_some_lanes(number: int) -> CompiledQuery:
    """Return the query of SQLite for the first tasks of so many lanes, equally many of each.

    A lane that is not given is not found. SQLite cannot join what has a limit for each row, so the
    rows are found by their numbers, which the index has as well.
    """
    given = [
        {
            name: bindparam(key, None, type_=_ASKED[name])
            for name, key in zip(_OF_LANE, keys, strict=True)
        }
        for keys in _GIVEN[:number]
    ]
    same = {"most": bindparam("p_most"), "looks_on": bindparam("p_looks_on", type_=Boolean())}
    if number == 1:
        return CompiledQuery(_first({**given[0], **same}, postgres=False), sqlite_dialect())
    asked = (
        values(*[column(name, _ASKED[name]) for name in _OF_LANE])
        .data([tuple(lane.values()) for lane in given])
        .cte("asked")
    )
    first = tasks.alias("first")
    of_lane = {**dict(asked.c), **same}
    rows = _limited(select(literal_column("first.rowid")), first, of_lane)
    found = select(*_columns(of_lane, postgres=False)).select_from(asked.join(tasks, true()))
    return CompiledQuery(
        found.where(literal_column("tasks.rowid").in_(rows.correlate(asked))), sqlite_dialect()
    )


@cache
def _of_all_lanes() -> CompiledQuery:
    """Return the query of PostgreSQL for the first tasks of some lanes, given as arrays."""
    given = [cast(bindparam(f"p_{name}"), ARRAY(of)) for name, of in _ASKED.items()]
    asked = (
        func.unnest(*given)
        .table_valued(*[column(name, of) for name, of in _ASKED.items()], name="asked")
        .render_derived()
    )
    first = _first(dict(asked.c), postgres=True).lateral("first")
    return CompiledQuery(select(first).select_from(asked.join(first, true())), postgres_dialect())


def _first(asked: dict[str, Any], *, postgres: bool) -> Select[Any]:
    return _limited(select(*_columns(asked, postgres=postgres)), tasks, asked)


def _limited(found: Select[Any], of: FromClause, asked: dict[str, Any]) -> Select[Any]:
    in_lane = _in_lane(found, of, asked).where(of.c.rank >= asked["floor"])
    return in_lane.order_by(of.c.rank, of.c.task_id).limit(asked["most"])


def _in_lane(found: Select[Any], of: FromClause, asked: dict[str, Any]) -> Select[Any]:
    return found.where(
        READY,
        of.c.task_type == asked["task_type"],
        of.c.lane == asked["lane"],
    )


def _next_rank(asked: dict[str, Any]) -> ColumnElement[Any]:
    """Return the rank of the ready task that comes after the one in `tasks` in its lane."""
    after = tasks.alias("after")
    place = tuple_(after.c.rank, after.c.task_id)
    found = (
        _in_lane(select(after.c.rank), after, asked)
        .where(place > tuple_(tasks.c.rank, tasks.c.task_id))
        .order_by(after.c.rank, after.c.task_id)
        .limit(1)
        .correlate_except(after)
        .scalar_subquery()
    )
    return case((asked["looks_on"], found)).label("next_rank")


def _columns(asked: dict[str, Any], *, postgres: bool) -> list[ColumnElement[Any]]:
    measure = func.octet_length if postgres else func.length  # neither reads the text
    special: dict[str, ColumnElement[Any]] = {
        "payload_size": measure(tasks.c.payload).label("payload_size"),
        "checkpoint_size": measure(tasks.c.checkpoint).label("checkpoint_size"),
    }
    for name in ("payload", "checkpoint"):
        short = measure(tasks.c[name]) <= bindparam("p_short")
        special[name] = case((short, tasks.c[name])).label(name)
    if postgres:  # as text: else the driver makes an object that nobody needs
        special["task_id"] = cast(tasks.c.task_id, Text).label("task_id")
    else:
        special["next_rank"] = _next_rank(asked)
    return [
        special[name] if name in special else tasks.c[name]
        for name in Candidate.__struct_fields__
        if name in special or name in tasks.c
    ]
