"""The groups of FAILED tasks: by type and class of error, from an index that has just these.

The counts walk that index, which has an entry for each FAILED task and for no other. So nothing has
to be kept up to date when tasks fail, are retried, or are pruned.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic_core import from_json
from sqlalchemy import (
    CompoundSelect,
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    cast,
    func,
    or_,
    select,
    union_all,
)

from raytasks.model.failures import HOUR_SECONDS, SERIES_HOURS, ErrorGroup, ErrorGroups
from raytasks.model.task_filter import is_reserved
from raytasks.protocol.queries import ErrorList
from raytasks.store.schema import FAILED, tasks
from raytasks.store.statements import param

MAX_GROUPS = 100
"""Maximum number of groups in an answer: those with the most tasks."""

_KEY = (tasks.c.task_type, tasks.c.error_type)

_ERRORS: Select[Any] = select(tasks.c.task_id, tasks.c.error).where(
    FAILED, tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)


@cache
def _all(*, task_type: bool) -> Select[Any]:
    """Return the query for the groups: one walk in the index."""
    return _of_type(
        select(*_KEY, func.count(), func.min(tasks.c.finished_at), func.max(tasks.c.finished_at)),
        task_type=task_type,
    ).group_by(*_KEY)


@cache
def _series(dialect: str, *, task_type: bool) -> Select[Any]:
    """Return the query for the counts by hour; those of hours without a failure are left out."""
    since = param("since")
    hours = (tasks.c.finished_at - since) / HOUR_SECONDS
    # PostgreSQL's cast rounds, and not every SQLite has `floor`.
    whole = func.floor(hours) if dialect == "postgresql" else hours
    hour = cast(whole, Integer).label("hour")
    return (
        _of_type(select(*_KEY, hour, func.count()), task_type=task_type)
        .where(tasks.c.finished_at >= since)
        .group_by(*_KEY, hour)
    )


@cache
def _failed_last(dialect: str, groups: int) -> Select[Any] | CompoundSelect[Any]:
    """Return the query for the tasks of so many groups that failed at a time of each group.

    It searches in the index once for each group. SQLite does so for the parts of a union, but not
    for those of an OR. PostgreSQL plans an OR in a third of the time.
    """
    keys = [
        and_(
            tasks.c.task_type == param(f"type_{number}"),
            tasks.c.error_type == param(f"error_{number}"),
            tasks.c.finished_at == param(f"at_{number}"),
        )
        for number in range(groups)
    ]
    of_one = select(*_KEY, tasks.c.task_id).where(FAILED, tasks.c.namespace == param("namespace"))
    if dialect == "postgresql":
        return of_one.where(or_(*keys))
    return union_all(*(of_one.where(key) for key in keys))


def _of_type(statement: Select[Any], *, task_type: bool) -> Select[Any]:
    statement = statement.where(FAILED, tasks.c.namespace == param("namespace"))
    if task_type:
        statement = statement.where(tasks.c.task_type == param("task_type"))
    return statement


def groups(connection: Connection, query: ErrorList) -> ErrorGroups:
    """Return the groups of a namespace, the largest first; at most `MAX_GROUPS`."""
    since = (query.now // HOUR_SECONDS - SERIES_HOURS + 1) * HOUR_SECONDS
    bound = {"p_namespace": query.namespace, "p_task_type": query.task_type, "p_since": since}
    by_type = query.task_type is not None
    rows = [
        row
        for row in connection.execute(_all(task_type=by_type), bound)
        if row[1] is not None and (row[0] == query.task_type or not is_reserved(row[0]))
    ]
    rows.sort(key=lambda row: (-row[2], row[0], row[1]))
    omitted = max(0, len(rows) - MAX_GROUPS)
    rows = rows[:MAX_GROUPS]
    hours: dict[tuple[str, str], list[int]] = {(row[0], row[1]): [0] * SERIES_HOURS for row in rows}
    series = _series(connection.dialect.name, task_type=by_type)
    for task_type, error_type, hour, count in connection.execute(series, bound):
        if (task_type, error_type) in hours and 0 <= hour < SERIES_HOURS:
            hours[task_type, error_type][hour] += count
    newest = _newest(connection, rows, query.namespace)
    found = [
        ErrorGroup(
            task_type=task_type,
            error_type=error_type,
            count=count,
            first_at=first_at,
            last_at=last_at,
            newest_task_id=newest[task_type, error_type][0],
            message=newest[task_type, error_type][1],
            hours=hours[task_type, error_type],
        )
        for task_type, error_type, count, first_at, last_at in rows
        if (task_type, error_type) in newest  # else its tasks were retried just now
    ]
    return ErrorGroups(since, found, omitted=omitted)


def _newest(
    connection: Connection, rows: Sequence[Any], namespace: str
) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the id and the message of the task of each group that failed last, by its key."""
    if not rows:
        return {}
    bound = {"p_namespace": namespace}
    for number, (task_type, error_type, _, _, last_at) in enumerate(rows):
        bound |= {f"p_type_{number}": task_type, f"p_error_{number}": error_type}
        bound[f"p_at_{number}"] = last_at
    newest: dict[tuple[str, str], str] = {}
    statement = _failed_last(connection.dialect.name, len(rows))
    for task_type, error_type, task_id in connection.execute(statement, bound):
        key = task_type, error_type  # several may have failed at the same time
        newest[key] = max(task_id, newest.get(key, ""))
    keys = {task_id: key for key, task_id in newest.items()}
    return {
        keys[task_id]: (task_id, str(from_json(error).get("message", "")))
        for task_id, error in connection.execute(_ERRORS, {"p_task_ids": list(keys)})
    }
