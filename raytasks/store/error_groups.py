"""The groups of FAILED tasks: by type and class of error, from an index that has just these.

The counts walk that index, which has an entry for each FAILED task and for no other. So nothing has
to be kept up to date when tasks fail, are retried, or are pruned.
"""

from functools import cache
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, Select, func, select

from raytasks.model.failures import HOUR_SECONDS, SERIES_HOURS, ErrorGroup, ErrorGroups
from raytasks.model.task_filter import is_reserved
from raytasks.protocol.queries import ErrorList
from raytasks.store.schema import FAILED, tasks
from raytasks.store.statements import param

MAX_GROUPS = 100
"""Maximum number of groups in an answer: those with the most tasks."""

_GROUP = (
    FAILED,
    tasks.c.namespace == param("namespace"),
    tasks.c.task_type == param("task_type"),
    tasks.c.error_type == param("error_type"),
)

_FIRST: Select[Any] = select(func.min(tasks.c.finished_at)).where(*_GROUP)

_NEWEST: Select[Any] = (
    select(tasks.c.task_id, tasks.c.error, tasks.c.finished_at)
    .where(*_GROUP)
    .order_by(tasks.c.finished_at.desc(), tasks.c.task_id.desc())
    .limit(1)
)


@cache
def _all(*, task_type: bool) -> Select[Any]:
    statement = select(tasks.c.task_type, tasks.c.error_type, func.count()).where(
        FAILED, tasks.c.namespace == param("namespace")
    )
    if task_type:
        statement = statement.where(tasks.c.task_type == param("task_type"))
    return statement.group_by(tasks.c.task_type, tasks.c.error_type)


@cache
def _series() -> Select[Any]:
    """Return the query for the counts of each hour: a short walk in the index for each."""
    hours = []
    for hour in range(SERIES_HOURS):
        begins = param("since") + hour * HOUR_SECONDS
        within = (tasks.c.finished_at >= begins, tasks.c.finished_at < begins + HOUR_SECONDS)
        hours.append(select(func.count()).where(*_GROUP, *within).scalar_subquery())
    return select(*hours)


def groups(connection: Connection, query: ErrorList) -> ErrorGroups:
    """Return the groups of a namespace, the largest first; at most `MAX_GROUPS`."""
    since = (query.now // HOUR_SECONDS - SERIES_HOURS + 1) * HOUR_SECONDS
    bound = {"p_namespace": query.namespace, "p_task_type": query.task_type, "p_since": since}
    rows = [
        row
        for row in connection.execute(_all(task_type=query.task_type is not None), bound)
        if row[1] is not None and (row[0] == query.task_type or not is_reserved(row[0]))
    ]
    rows.sort(key=lambda row: (-row[2], row[0], row[1]))
    found = [_group(connection, row, bound) for row in rows[:MAX_GROUPS]]
    return ErrorGroups(since, found, omitted=len(rows) - len(found))


def _group(connection: Connection, row: Any, bound: dict[str, Any]) -> ErrorGroup:
    task_type, error_type, count = row
    bound = {**bound, "p_task_type": task_type, "p_error_type": error_type}
    first_at = connection.execute(_FIRST, bound).scalar_one()
    task_id, error, last_at = connection.execute(_NEWEST, bound).one()
    hours = connection.execute(_series(), bound).one()
    return ErrorGroup(
        task_type=task_type,
        error_type=error_type,
        count=count,
        first_at=first_at,
        last_at=last_at,
        newest_task_id=task_id,
        message=str(from_json(error).get("message", "")),
        hours=list(hours),
    )
