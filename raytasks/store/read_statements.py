"""The SQL statements that only read, by name."""

from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, func, literal_column, select, text

from raytasks.store import count_steps, place_rows
from raytasks.store.schema import READY, RUNNING, UNCOMPLETED, attempts, task_logs, tasks
from raytasks.store.service_tables import tracker_epoch
from raytasks.store.statements import param

EPOCH: Select[Any] = select(tracker_epoch.c.owner, tracker_epoch.c.renewed_at)

RUNNING_TASKS: Select[Any] = select(
    tasks.c.task_id,
    tasks.c.task_type,
    tasks.c.attempt,
    tasks.c.runner_id,
    func.coalesce(tasks.c.claimed_at, tasks.c.started_at, tasks.c.updated_at),
    tasks.c.priority,
    tasks.c.failures,
    tasks.c.crashes,
    tasks.c.max_attempts,
    tasks.c.cancel_requested,
    tasks.c.company,
    tasks.c.namespace,
    tasks.c.revision,
    tasks.c.tags,
    tasks.c.checkpoint_ref.is_not(None),
    tasks.c.started_at.is_(None),
    func.nullif(tasks.c.started_at, tasks.c.claimed_at),
    tasks.c.lane,
    tasks.c.limit_values,
    tasks.c.callback_url,
    tasks.c.rank,
    tasks.c.timeout_seconds,
    tasks.c.trace_context,
    tasks.c.cancel_reason,
    tasks.c.unique_spec.is_not(None),
).where(
    RUNNING, UNCOMPLETED, tasks.c.namespace.in_(count_steps.NAMESPACES)
)  # for which there is an index

EVENT_TASKS: Select[Any] = select(
    tasks.c.task_id,
    tasks.c.task_type,
    tasks.c.namespace,
    tasks.c.state,
    tasks.c.attempt,
    tasks.c.revision,
    tasks.c.created_at,
    func.coalesce(tasks.c.started_at, tasks.c.claimed_at).label("started_at"),
    tasks.c.updated_at,
    tasks.c.progress_fraction,
    tasks.c.progress_message,
    tasks.c.cancel_requested,
).where(tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True)))

_ENDED_ATTEMPTS = select(
    attempts.c.attempt,
    attempts.c.revision,
    attempts.c.state,
    attempts.c.started_at,
    attempts.c.finished_at,
    attempts.c.outcome,
    attempts.c.error,
).where(attempts.c.task_id == param("task_id"))

EVENT_ATTEMPTS: Select[Any] = (
    _ENDED_ATTEMPTS.where(attempts.c.revision > param("revision"))
    .order_by(attempts.c.attempt)
    .limit(param("limit"))
)

EVENT_ATTEMPT_BEFORE: Select[Any] = (
    _ENDED_ATTEMPTS.where(attempts.c.revision <= param("revision"))
    .order_by(attempts.c.attempt.desc())
    .limit(1)
)

EVENT_LINES: Select[Any] = (
    select(
        task_logs.c.attempt,
        task_logs.c.number,
        task_logs.c.at,
        task_logs.c.level,
        task_logs.c.message,
    )
    .where(
        task_logs.c.task_id == param("task_id"),
        task_logs.c.attempt >= param("attempt"),
        (task_logs.c.attempt > param("attempt")) | (task_logs.c.number > param("number")),
    )
    .order_by(task_logs.c.attempt, task_logs.c.number)
    .limit(param("limit"))
)

MAX_ATTEMPTS = 100
"""Maximum number of attempts that are read with a task: the newest."""

# The newest first. The numbers are in the text because nobody binds them.
ATTEMPTS_OF: Select[Any] = (
    select(*place_rows.COLUMNS)
    .select_from(place_rows.ATTEMPTS)
    .where(attempts.c.task_id == param("task_id"))
    .order_by(attempts.c.attempt.desc())
    .limit(literal_column(str(MAX_ATTEMPTS)))
    .offset(literal_column("0"))
)


@cache
def any_ready(types: int) -> Select[Any]:
    """Return the query for one ready task of `types` task types."""
    names = [param(f"type_{i}") for i in range(types)]
    return select(tasks.c.task_id).where(READY, tasks.c.task_type.in_(names)).limit(1)


PING: Select[Any] = select(text("1"))
