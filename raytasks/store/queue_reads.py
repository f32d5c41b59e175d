"""Reads of the order in which due tasks are claimed, bounded and by the index of claims.

They look at the lanes that they are given.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, func, literal_column, select, union_all

from raytasks.store import statements
from raytasks.store.lane_rows import LaneAsk
from raytasks.store.schema import READY, tasks
from raytasks.store.statements import param

_LANES_AT_ONCE = 100

_OWN: Select[Any] = select(tasks.c.rank, tasks.c.company).where(tasks.c.task_id == param("task_id"))


class TaskPlace(NamedTuple):
    """The place of a due task: how many are claimed `before` it, and its `company`.

    For the company see `Running`.
    """

    before: int
    company: int | None


def next_due(connection: Connection) -> float | None:
    """Return the time when the next waiting task becomes due; None if there is none."""
    due: float | None = connection.execute(statements.NEXT_DUE).scalar()
    return due


@cache
def _before(lanes: int) -> Select[Any]:
    """Return the query for the number of tasks of `lanes` lanes that come before one."""
    rank = param("rank")
    each = [
        select(
            select(literal_column("1").label("one"))
            .select_from(tasks)
            .where(
                READY,
                tasks.c.task_type == param(f"type_{i}"),
                tasks.c.lane == param(f"lane_{i}"),
                tasks.c.rank >= param(f"floor_{i}"),
                tasks.c.rank <= rank,
                (tasks.c.rank < rank) | (tasks.c.task_id < param("task_id")),
            )
            .limit(param("limit"))
            .subquery()
        )
        for i in range(lanes)
    ]
    found = union_all(*each).subquery()
    return select(func.count()).select_from(select(found).limit(param("limit")).subquery())


@cache
def _oldest(lanes: int) -> Any:
    """Return the query for the oldest due time of some lanes, each among its first tasks."""
    return union_all(
        *[
            select(literal_column(str(i)), func.min(first.c.run_at))
            for i in range(lanes)
            for first in [
                select(tasks.c.run_at)
                .where(
                    READY,
                    tasks.c.task_type == param(f"type_{i}"),
                    tasks.c.lane == param(f"lane_{i}"),
                    tasks.c.rank >= param(f"floor_{i}"),
                )
                .order_by(tasks.c.rank, tasks.c.task_id)
                .limit(param(f"limit_{i}"))
                .subquery()
            ]
        ]
    )


def place_of(
    connection: Connection, task_id: str, lanes: Sequence[LaneAsk], limit: int
) -> TaskPlace:
    """Return the place of a task among the due tasks of some lanes, counted up to `limit`."""
    own = connection.execute(_OWN, {"p_task_id": task_id}).first()
    rank, company = (None, None) if own is None else own
    found = 0
    for start in range(0, len(lanes), _LANES_AT_ONCE):
        if found >= limit or rank is None:
            break
        some = lanes[start : start + _LANES_AT_ONCE]
        bound = {"p_task_id": task_id, "p_rank": rank, "p_limit": limit - found, **_named(some)}
        found += connection.execute(_before(len(some)), bound).scalar_one()
    return TaskPlace(found, company)


def oldest_due(connection: Connection, lanes: Sequence[LaneAsk]) -> dict[str, float]:
    """Return the oldest due time by type, among the first due tasks of each of some lanes.

    "First" is the order of claims. A type without due tasks is not in it.
    """
    found: dict[str, float] = {}
    for start in range(0, len(lanes), _LANES_AT_ONCE):
        some = lanes[start : start + _LANES_AT_ONCE]
        for number, due_at in connection.execute(_oldest(len(some)), _named(some)):
            if due_at is not None:
                name = some[number].task_type
                found[name] = min(due_at, found.get(name, due_at))
    return found


def _named(lanes: Sequence[LaneAsk]) -> dict[str, Any]:
    return {
        f"p_{name}_{i}": value
        for i, ask in enumerate(lanes)
        for name, value in zip(("type", "lane", "floor", "limit"), ask, strict=False)
    }
