"""The statements about lanes: which there are, and what is put off in them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select

from raytasks.store.lane_rows import LaneRow, PutOffRow
from raytasks.store.schema import READY, SCHEDULED, tasks

IN_LANE = [
    tasks.c.task_type,
    tasks.c.lane,
    tasks.c.namespace,
    tasks.c.limit_values,
    tasks.c.rank,
]
"""The columns of a task that say where it waits."""

READY_ONES: Select[Any] = select(*IN_LANE).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True)), READY
)

_LANES_OF_SQLITE: Select[Any] = (
    # The other columns are those of the row with the least rank, which SQLite promises.
    select(
        tasks.c.task_type,
        tasks.c.lane,
        tasks.c.namespace,
        tasks.c.limit_values,
        func.count(),
        func.min(tasks.c.rank),
    )
    .where(READY)
    .group_by(tasks.c.task_type, tasks.c.lane)
)
# All tasks of a lane have the same namespace and values. Another sort order of texts costs more.
_LANES_OF_POSTGRES: Select[Any] = (
    select(
        tasks.c.task_type,
        tasks.c.lane,
        func.min(tasks.c.namespace.collate("C")),
        func.min(tasks.c.limit_values.collate("C")),
        func.count(),
        func.min(tasks.c.rank),
    )
    .where(READY)
    .group_by(tasks.c.task_type, tasks.c.lane)
)

_PUT_OFF: Select[Any] = select(*(tasks.c[name] for name in PutOffRow._fields)).where(
    SCHEDULED,
    tasks.c.attempt > 0,
    tasks.c.task_type.in_(bindparam("p_task_types", expanding=True)),
)


def lanes(connection: Connection) -> list[LaneRow]:
    """Return all lanes with ready tasks. It takes a look at each ready task in the index."""
    postgres = connection.dialect.name == "postgresql"
    rows = connection.execute(_LANES_OF_POSTGRES if postgres else _LANES_OF_SQLITE)
    return [LaneRow(*row) for row in rows]


def put_off(connection: Connection, task_types: Sequence[str]) -> list[PutOffRow]:
    """Return the tasks of some types that have run, and wait for their time to run again."""
    if not task_types:
        return []
    rows = connection.execute(_PUT_OFF, {"p_task_types": list(task_types)})
    return [PutOffRow(*row) for row in rows]
