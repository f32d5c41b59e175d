"""Answers to the queries of `raytasks.protocol.queries` about stored data."""

from collections.abc import Sequence
from typing import Any, assert_never

from sqlalchemy import Connection

from raytasks.model.states import State
from raytasks.model.task_filter import is_reserved
from raytasks.model.tasks import AttemptRecord, Page, Task
from raytasks.protocol.messages import Ends, TaskEnd
from raytasks.protocol.queries import (
    AuditList,
    BulkById,
    BulkList,
    BulkMatches,
    BulkQuery,
    ErrorList,
    KnownTasks,
    NamespaceList,
    OutboxTask,
    RepeatedSubmissions,
    ScheduleList,
    StatsHistory,
    StoredQuery,
    TaskActs,
    TaskCounts,
    TaskDetail,
    TaskEnds,
    TaskEvents,
    TaskQuery,
    TasksById,
)
from raytasks.store import (
    act_rows,
    count_steps,
    count_views,
    error_groups,
    files,
    outbox_rows,
    read_statements,
    schedule_rows,
    series_reads,
    statements,
    steering_rows,
)
from raytasks.store import bulk_steps as bulk
from raytasks.store import task_selection as selection
from raytasks.store.event_reads import read_events
from raytasks.store.idempotency import find_duplicates
from raytasks.store.task_selection import Shape
from raytasks.store.transaction import task_from


def answer(connection: Connection, query: StoredQuery | BulkQuery) -> Any:
    """Answer a query, as of one moment. The query's class names the type of the answer."""
    match query:
        case TasksById():
            return _tasks(connection, query.task_ids)
        case TaskDetail():
            return _detail(connection, query.task_id)
        case TaskQuery():
            return _page(connection, query)
        case TaskEvents():
            return read_events(connection, query.queries, query.limit)
        case TaskEnds():
            return _ends(connection, query.task_ids)
        case TaskActs() | AuditList() | ErrorList() | StatsHistory() | ScheduleList():
            return _overview(connection, query)
        case NamespaceList() | TaskCounts():
            return _counts(connection, query)
        case KnownTasks() | OutboxTask() | RepeatedSubmissions():
            return _elsewhere(connection, query)
        case BulkMatches():
            return bulk.count(connection, query.filter)
        case BulkById():
            return bulk.one(connection, query.bulk_id, query.namespace)
        case BulkList():
            return bulk.newest(connection, query.namespace)
        case _:
            assert_never(query)


def _elsewhere(connection: Connection, query: KnownTasks | OutboxTask | RepeatedSubmissions) -> Any:
    match query:
        case KnownTasks():
            return files.known(connection, query.task_ids)
        case OutboxTask():
            return outbox_rows.one(connection, query.task_id)
        case RepeatedSubmissions():
            return find_duplicates(connection, query.tasks)
        case _:
            assert_never(query)


def _overview(
    connection: Connection,
    query: TaskActs | AuditList | ErrorList | StatsHistory | ScheduleList,
) -> Any:
    match query:
        case TaskActs():
            return act_rows.acts_of(connection, query.task_id)
        case AuditList():
            return act_rows.page(connection, query)
        case ErrorList():
            return error_groups.groups(connection, query)
        case StatsHistory():
            return series_reads.series(connection, query)
        case ScheduleList():
            return schedule_rows.page(connection, query)
        case _:
            assert_never(query)


def _counts(connection: Connection, query: NamespaceList | TaskCounts) -> Any:
    counts = {
        key: number
        for key, number in count_steps.read_counts(connection).items()
        if number and not is_reserved(key[1])
    }
    match query:
        case NamespaceList():
            return count_views.by_namespace(
                counts, steering_rows.namespaces(connection), query.name
            )
        case TaskCounts():
            return count_views.of_namespace(counts, query.namespace)
        case _:
            assert_never(query)


def _tasks(connection: Connection, task_ids: Sequence[str]) -> dict[str, Task]:
    if not task_ids:
        return {}
    rows = connection.execute(statements.BY_IDS, {"p_task_ids": list(task_ids)})
    return {row.task_id: task_from(row) for row in rows}


def _detail(connection: Connection, task_id: str) -> tuple[Task, list[AttemptRecord]] | None:
    task = _tasks(connection, [task_id]).get(task_id)
    if task is None:
        return None
    history = connection.execute(read_statements.ATTEMPTS_OF, {"p_task_id": task_id})
    return task, [AttemptRecord(*attempt) for attempt in history][::-1]


def _ends(connection: Connection, task_ids: Sequence[str]) -> Ends:
    if not task_ids:
        return Ends()
    rows = connection.execute(statements.ENDS, {"p_task_ids": list(task_ids)})
    found = [TaskEnd(row[0], row[1], State(row[2]), *row[3:]) for row in rows]
    return Ends(
        ended=[end for end in found if end.state.final],
        unknown=list({*task_ids} - {end.task_id for end in found}),
    )


def _page(connection: Connection, query: TaskQuery) -> Page:
    asked, limit = query.filter, query.limit
    shape = selection.shape_of(asked, cursor=query.cursor is not None)
    bound = {**selection.bound(asked, query.cursor), "p_offset": query.offset}
    if shape.is_checked:
        return _checked(connection, shape, bound, limit)
    bound["p_limit"] = limit + 1  # one more, to know if there are more
    bound["p_step"] = query.offset + limit + 1
    if shape.is_exact:
        found = connection.execute(selection.exactly(shape, statements.TASK_COLUMNS), bound)
        rows = [task_from(row) for row in found]
    else:
        ids = list(connection.execute(selection.newest(shape), bound).scalars())
        rows = _in_order(connection, ids)
    total = sum(
        number
        for key, number in count_steps.read_counts(connection).items()
        if asked.takes_count(*key)
    )
    more = len(rows) > limit
    rows = rows[:limit]
    return Page(rows, total, rows[-1].task_id if more else None)


def _checked(connection: Connection, shape: Shape, bound: dict[str, Any], limit: int) -> Page:
    """Return the tasks of a filter among the next ones that an index finds, newest first."""
    bound |= {"p_step": selection.STEP, "p_limit": limit + 1, "p_offset": selection.STEP - 1}
    last = connection.execute(selection.last_walked(shape), bound).scalar()
    ids = list(connection.execute(selection.checked(shape), bound).scalars())
    ids = [task_id for task_id in ids if last is None or task_id >= last]
    if len(ids) > limit:
        ids = ids[:limit]
        last = ids[-1]
    return Page(_in_order(connection, ids), None, last)


def _in_order(connection: Connection, ids: Sequence[str]) -> list[Task]:
    tasks = _tasks(connection, ids)
    return [tasks[task_id] for task_id in ids]
