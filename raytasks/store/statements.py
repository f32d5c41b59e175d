"""The SQL statements that write, by name, and the reads that they need before.

Every change of state is fenced by the table of transitions. The statements of each tick are in
`raytasks.store.batch_statements`.
"""

from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Select,
    Text,
    Update,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from raytasks.model.lane_names import PLAIN_LANE
from raytasks.model.states import CRASHES, TRANSITIONS, Event, OutcomeKind, State
from raytasks.model.tasks import Task
from raytasks.protocol.messages import TaskEnd
from raytasks.store.compiled import CompiledQuery, postgres_dialect, sqlite_dialect
from raytasks.store.lane_statements import IN_LANE
from raytasks.store.schema import ENDED, RUNNING, SCHEDULED, attempts, task_logs, tasks
from raytasks.store.service_tables import tracker_epoch


def param(name: str) -> Any:
    """Return a parameter. SQLAlchemy reserves the plain names of columns for its own ones."""
    return bindparam(f"p_{name}")


def in_source_of(event: Event, column: str = "state") -> ColumnElement[bool]:
    """Return the condition that a task, by `column`, is in a source state of an event."""
    sources = TRANSITIONS[event].sources
    listed = ", ".join(f"'{state}'" for state in State if state in sources)
    return literal_column(f"{column} IN ({listed})", tasks.c.ready.type)


def _lost(column: str) -> ColumnElement[bool]:
    """Return the condition that an attempt was lost.

    It is text, because a list of parameters cannot be used in a statement for many rows.
    """
    listed = ", ".join(f"'{kind}'" for kind in sorted(CRASHES))
    return literal_column(f"{column} IN ({listed})", tasks.c.ready.type)


# Tasks read in the same transaction, so that their attempts have not changed since.
_THESE = tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))

_THE_ATTEMPT = (tasks.c.task_id == param("task_id")) & (tasks.c.attempt == param("attempt"))

BEGIN_EPOCH: Update = (
    update(tracker_epoch)
    .values(epoch=tracker_epoch.c.epoch + 1, renewed_at=param("now"), owner=param("owner"))
    .returning(tracker_epoch.c.epoch)
)

_EPOCH: Select[Any] = select(tracker_epoch.c.epoch).where(tracker_epoch.c.epoch == param("epoch"))


@cache
def epoch_query(*, postgres: bool) -> CompiledQuery:
    """Return the query that finds the row of an epoch if it has not ended."""
    return CompiledQuery(_EPOCH, postgres_dialect() if postgres else sqlite_dialect())


NOTE_LATE: Update = (
    update(attempts)
    .where(
        attempts.c.task_id == param("task_id"),
        attempts.c.attempt == param("attempt"),
        attempts.c.runner_id == param("runner_id"),
        _lost("outcome"),
        attempts.c.late_outcome.is_(None),
    )
    .values(late_outcome=param("outcome"), late_at=param("now"))
)

# A checkpoint that was refused is tried again, maybe after a later one, and must not replace it.
_CHECKPOINT = cast(param("checkpoint"), Text)
_IS_NEWER = _CHECKPOINT.is_not(None) & (
    func.coalesce(tasks.c.checkpoint_number, -1) < param("number")
)

REPORT: Update = (
    update(tasks)
    .where(_THE_ATTEMPT, RUNNING)
    .values(
        progress_fraction=func.coalesce(param("fraction"), tasks.c.progress_fraction),
        progress_message=func.coalesce(param("message"), tasks.c.progress_message),
        checkpoint=case((_IS_NEWER, _CHECKPOINT), else_=tasks.c.checkpoint),
        started_at=func.coalesce(tasks.c.started_at, param("began_at")),
        checkpoint_ref=case((_IS_NEWER, param("checkpoint_ref")), else_=tasks.c.checkpoint_ref),
        checkpoint_number=case((_IS_NEWER, param("number")), else_=tasks.c.checkpoint_number),
        has_files=param("checkpoint_ref").is_not(None) | tasks.c.has_files,
        updated_at=param("now"),
    )
)

LARGE_CHECKPOINTS: Select[Any] = select(
    tasks.c.task_id, tasks.c.attempt, tasks.c.checkpoint_ref, tasks.c.checkpoint_number
).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True)),
    tasks.c.checkpoint_ref.is_not(None),
    RUNNING,
)

CANCEL: Update = (
    update(tasks)
    .where(_THESE, in_source_of(Event.CANCEL))
    .values(
        state=TRANSITIONS[Event.CANCEL].target.value,
        revision=tasks.c.revision + 1,
        ready=False,
        cancel_requested=True,
        cancel_reason=param("reason"),
        finished_at=param("now"),
        updated_at=param("now"),
    )
)

MARK_CANCELLED: Update = (
    update(tasks)
    .where(_THESE, RUNNING)
    .values(cancel_requested=True, cancel_reason=param("reason"), updated_at=param("now"))
)

RETRY: Update = (
    update(tasks)
    .where(_THESE, in_source_of(Event.RETRY))
    .values(
        state=TRANSITIONS[Event.RETRY].target.value,
        revision=tasks.c.revision + 1,
        ready=True,
        # One that ended before 0.4 has no lane of its own yet.
        lane=case((tasks.c.lane == PLAIN_LANE, param("lane")), else_=tasks.c.lane),
        rank=param("now") + param("ahead") - tasks.c.priority * param("priority_step"),
        run_at=param("now"),
        expires_at=None,  # a person wants it to run now
        failures=0,
        crashes=0,
        company=None,
        cancel_requested=False,
        cancel_reason=None,
        error=None,
        error_type=None,
        progress_fraction=None,
        progress_message=None,
        finished_at=None,
        updated_at=param("now"),
    )
    .returning(*IN_LANE)
)

PROMOTE: Update = (
    update(tasks)
    .where(
        tasks.c.task_id.in_(
            select(tasks.c.task_id)
            .where(SCHEDULED, tasks.c.run_at <= param("now"))
            .order_by(tasks.c.run_at)
            .limit(param("limit"))
        )
    )
    .values(ready=True)
    .returning(*IN_LANE)
)

NEXT_DUE: Select[Any] = select(func.min(tasks.c.run_at)).where(SCHEDULED)

TASK_COLUMNS = [tasks.c[name] for name in Task.__struct_fields__]

BY_IDS: Select[Any] = select(*TASK_COLUMNS).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)

ENDS: Select[Any] = select(*(tasks.c[name] for name in TaskEnd.__struct_fields__)).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)

_ENDED_BEFORE = ENDED, tasks.c.finished_at < param("before")

EXPIRED: Select[Any] = (
    select(tasks.c.task_id, tasks.c.finished_at)
    .where(*_ENDED_BEFORE)
    .order_by(tasks.c.finished_at)
    .limit(param("limit"))
)

# Old attempts that changed nothing: a limited number at a time, as there may be many from before
# 0.2.
_MAX_TRIMMED = 100
_TRIMMED = (
    select(attempts.c.attempt)
    .where(
        attempts.c.task_id == param("task_id"),
        attempts.c.attempt <= param("attempt"),
        attempts.c.outcome.in_([OutcomeKind.SNOOZED.value, OutcomeKind.RELEASED.value]),
    )
    .order_by(attempts.c.attempt)
    .limit(_MAX_TRIMMED)
)

TRIM: tuple[Delete, ...] = tuple(
    delete(table).where(table.c.task_id == param("task_id"), table.c.attempt.in_(_TRIMMED))
    for table in (task_logs, attempts)
)


@cache
def log(dialect: str) -> Any:
    """Return the statement that stores a line of a running attempt, once, in a dialect."""
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    line = [
        bindparam(f"p_{column.name}", type_=column.type)
        for column in (
            task_logs.c.number,
            task_logs.c.at,
            task_logs.c.level,
            task_logs.c.message,
        )
    ]
    statement: Any = insert_into(task_logs).from_select(
        ["task_id", "attempt", "number", "at", "level", "message"],
        select(tasks.c.task_id, tasks.c.attempt, *line).where(_THE_ATTEMPT, RUNNING),
    )
    return statement.on_conflict_do_nothing()
