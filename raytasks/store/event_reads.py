"""Reads of tasks' events: what is kept of each task after an event, in few rows."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, Row

from raytasks.model.acts import has_acts
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_events import EventId, EventPage, EventQuery, LogLine, TaskProgress
from raytasks.store import read_statements
from raytasks.store.act_rows import acts_since
from raytasks.store.history import BEFORE_ALL, Ended, Kept, TaskNow, history


def read_events(
    connection: Connection, queries: Sequence[EventQuery], limit: int
) -> list[EventPage | None]:
    """Return the events that each query asks for, at most `limit` in all; None: no such task."""
    ids = sorted({query.task_id for query in queries})
    rows = connection.execute(read_statements.EVENT_TASKS, {"p_task_ids": ids}) if ids else ()
    found = {row.task_id: row for row in rows}
    pages: list[EventPage | None] = []
    for query in queries:
        row = found.get(query.task_id)
        if row is None or row.namespace != query.namespace:
            pages.append(None)
            continue
        page = _page(connection, row, query.after or BEFORE_ALL, limit)
        limit -= len(page.events)
        pages.append(page)
    return pages


def _page(connection: Connection, row: Row[Any], after: EventId, limit: int) -> EventPage:
    running = row.state == State.RUNNING
    task = TaskNow(
        State(row.state),
        row.attempt,
        row.revision,
        row.created_at,
        row.started_at if running else row.updated_at,
    )
    kept = _kept(connection, row.task_id, task, after, limit + 1)
    if has_acts(task.state, task.attempt, task.revision, cancel_requested=row.cancel_requested):
        # A change keeps the state: so the acts since the attempt before are needed to tell it.
        first = min(after[0] - 1, 0 if kept.before is None else kept.before.revision)
        acts = acts_since(connection, row.task_id, first, limit + 1 + after[0] - first)
        kept = replace(kept, acts={act.revision + 1: act for act in acts})
    events, more = history(kept, after, limit)
    progress = None
    if row.progress_fraction is not None or row.progress_message is not None:
        progress = TaskProgress(row.attempt, row.progress_fraction, row.progress_message)
    return EventPage(row.task_id, row.task_type, row.namespace, task.state, events, more, progress)


def _kept(connection: Connection, task_id: str, task: TaskNow, after: EventId, limit: int) -> Kept:
    revision, number = after
    bound = {"p_task_id": task_id, "p_revision": revision, "p_limit": limit}
    before, ended = None, []
    if revision < task.revision:
        rows = connection.execute(read_statements.EVENT_ATTEMPTS, bound)
        ended = [_ended(row) for row in rows]
        if revision >= 0:
            row = connection.execute(read_statements.EVENT_ATTEMPT_BEFORE, bound).first()
            before = None if row is None else _ended(row)
    began = {item.revision - 1: item.attempt for item in ended}
    if task.state is State.RUNNING:
        began[task.revision] = task.attempt
    lines: defaultdict[int, list[LogLine]] = defaultdict(list)
    if began:
        bound |= {"p_attempt": min(began.values())}
        bound |= {"p_number": number if began.get(revision) == bound["p_attempt"] else 0}
        for attempt, *line in connection.execute(read_statements.EVENT_LINES, bound):
            lines[attempt].append(LogLine(*line))
    return Kept(task, before, ended, lines)


def _ended(row: Row[Any]) -> Ended:
    error = None if row.error is None else from_json(row.error)
    return Ended(
        attempt=row.attempt,
        revision=row.revision,
        state=State(row.state),
        started_at=row.started_at,
        finished_at=row.finished_at,
        outcome=OutcomeKind(row.outcome),
        error=None if error is None else (error["type"], error["message"]),
    )
