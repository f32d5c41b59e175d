"""Answers to the queries of `raytasks.protocol.queries` about stored data."""

from collections.abc import Sequence
from typing import Any, assert_never

from sqlalchemy import Connection

from raytasks.model.states import State
from raytasks.model.tasks import AttemptRecord, Page, Task
from raytasks.protocol.messages import Ends, TaskEnd
from raytasks.protocol.queries import (
    AuditList,
    BulkById,
    BulkList,
    BulkMatches,
    BulkQuery,
    KnownTasks,
    StoredQuery,
    TaskActs,
    TaskDetail,
    TaskEnds,
    TaskEvents,
    TaskQuery,
    TasksById,
)
from raytasks.store import act_rows, files, read_statements, statements
from raytasks.store import bulk_steps as bulk
from raytasks.store.event_reads import read_events
from raytasks.store.transaction import task_from


def answer(connection: Connection, query: StoredQuery | BulkQuery) -> Any:
    """Answer a query, as of one moment. The query's class names the type of the answer."""
    match query:
        case TasksById():
            return _tasks(connection, query.task_ids)
        case TaskDetail():
            return _detail(connection, query.task_id)
        case TaskQuery():
            return _page(connection, query) if query.tag is None else _tagged(connection, query)
        case TaskEvents():
            return read_events(connection, query.queries, query.limit)
        case TaskEnds():
            return _ends(connection, query.task_ids)
        case TaskActs():
            return act_rows.acts_of(connection, query.task_id)
        case AuditList():
            return act_rows.page(connection, query)
        case KnownTasks():
            return files.known(connection, query.task_ids)
        case BulkMatches():
            return bulk.count(connection, query.filter)
        case BulkById():
            return bulk.one(connection, query.bulk_id, query.namespace)
        case BulkList():
            return bulk.newest(connection, query.namespace)
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
    statement = read_statements.listing(
        state=query.state is not None,
        task_type=query.task_type is not None,
        cursor=query.cursor is not None,
    )
    # One more than asked for, to know whether there are more.
    found = connection.execute(statement, _bound(query, query.limit + 1))
    rows = [task_from(row) for row in found]
    counted = connection.execute(read_statements.COUNTS)
    total = sum(
        number
        for namespace, task_type, state, number in counted
        if namespace == query.namespace
        and query.state in (None, state)
        and query.task_type in (None, task_type)
    )
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return Page(rows, total, rows[-1].task_id if more else None)


def _tagged(connection: Connection, query: TaskQuery) -> Page:
    """Return the tasks that the filters match among the next ones with a tag, newest first."""
    statement = read_statements.tagged_matching(
        state=query.state is not None,
        task_type=query.task_type is not None,
        cursor=query.cursor is not None,
    )
    # One more than asked for, to know whether there are more.
    ids = list(connection.execute(statement, _bound(query, query.limit + 1)).scalars())
    more = len(ids) > query.limit
    ids = ids[: query.limit]
    tasks = _tasks(connection, ids)
    page = [tasks[task_id] for task_id in ids]
    if more:
        return Page(page, None, ids[-1])
    last = read_statements.tagged(cursor=query.cursor is not None)
    bound = {**_bound(query, 1), "p_offset": read_statements.TAG_STEP - 1}
    return Page(page, None, connection.execute(last, bound).scalar())


def _bound(query: TaskQuery, limit: int) -> dict[str, int | str | None]:
    return {
        "p_namespace": query.namespace,
        "p_limit": limit,
        "p_offset": query.offset,
        "p_cursor": query.cursor,
        "p_state": query.state,
        "p_task_type": query.task_type,
        "p_tag": query.tag,
    }
