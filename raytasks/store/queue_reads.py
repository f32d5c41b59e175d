"""Reads of the order in which due tasks are claimed, bounded and by the index of claims."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, literal_column, select

from raytasks.store.schema import READY, tasks
from raytasks.store.statements import param

_OWN_RANK = select(tasks.c.rank).where(tasks.c.task_id == param("task_id")).scalar_subquery()

_BEFORE: Select[Any] = select(func.count()).select_from(
    select(literal_column("1"))
    .select_from(tasks)
    .where(
        READY,
        tasks.c.task_type.in_(bindparam("p_task_types", expanding=True)),
        tasks.c.rank <= _OWN_RANK,
        (tasks.c.rank < _OWN_RANK) | (tasks.c.task_id < param("task_id")),
    )
    .limit(param("limit"))
    .subquery()
)


_SOME_READY = (
    select(tasks.c.task_type)
    .where(READY, tasks.c.task_type.in_(bindparam("p_task_types", expanding=True)))
    .limit(param("limit"))
    .subquery()
)
_READY: Select[Any] = select(_SOME_READY.c.task_type, func.count()).group_by(
    _SOME_READY.c.task_type
)


def count_ready(connection: Connection, task_types: Sequence[str], limit: int) -> dict[str, int]:
    """Return how many tasks of some types are ready, by type: at most `limit` in all."""
    bound = {"p_task_types": list(task_types), "p_limit": limit}
    return {row[0]: row[1] for row in connection.execute(_READY, bound)}


def count_before(
    connection: Connection, task_id: str, task_types: Sequence[str], limit: int
) -> int:
    """Return how many due tasks of some types are claimed before a task, counted up to `limit`."""
    bound = {"p_task_id": task_id, "p_task_types": list(task_types), "p_limit": limit}
    found: int = connection.execute(_BEFORE, bound).scalar_one()
    return found
