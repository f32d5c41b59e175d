"""The SQL statements, by name. Every change of state is fenced by the table of transitions."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Delete,
    Insert,
    Select,
    Update,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.selectable import CompoundSelect

from raytasks.models import Attempt, NewTask, Task
from raytasks.states import CRASHES, TRANSITIONS, Event, State
from raytasks.store.schema import (
    ENDED,
    KEYED,
    READY,
    RUNNING,
    SCHEDULED,
    attempts,
    task_counts,
    task_logs,
    task_tags,
    tasks,
    tracker_epoch,
)


def _param(name: str) -> Any:
    # SQLAlchemy keeps the plain column names for its own parameters.
    return bindparam(f"p_{name}")


def _in_source_of(event: Event) -> ColumnElement[bool]:
    sources = TRANSITIONS[event].sources
    listed = ", ".join(f"'{state}'" for state in State if state in sources)
    return literal_column(f"state IN ({listed})", tasks.c.ready.type)


# Of tasks that were read in the same transaction, so that their attempts are as they were then.
_THESE = tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))

_THE_ATTEMPT = (tasks.c.task_id == _param("task_id")) & (tasks.c.attempt == _param("attempt"))

RENEW: Update = (
    update(tracker_epoch)
    .where(tracker_epoch.c.epoch == _param("epoch"))
    .values(renewed_at=_param("now"))
)

BEGIN_EPOCH: Update = (
    update(tracker_epoch)
    .values(epoch=tracker_epoch.c.epoch + 1, renewed_at=_param("now"), owner=_param("owner"))
    .returning(tracker_epoch.c.epoch)
)

EPOCH: Select[Any] = select(
    tracker_epoch.c.owner, tracker_epoch.c.renewed_at, tracker_epoch.c.paused_at
)

SET_PAUSED: Update = (
    update(tracker_epoch)
    .where(tracker_epoch.c.epoch == _param("epoch"))
    .values(paused_at=_param("paused_at"))
)

SUBMIT: Insert = insert(tasks).values(
    **{name: _param(name) for name in NewTask.__struct_fields__},
    state=TRANSITIONS[Event.SUBMIT].target.value,
    rank=_param("rank"),
    ready=_param("ready"),
    attempt=0,
    failures=0,
    crashes=0,
    suspect=False,
    cancel_requested=False,
    updated_at=_param("created_at"),
)

CLAIM: Update = (
    update(tasks)
    .where(_THE_ATTEMPT, _in_source_of(Event.CLAIM))
    .values(
        state=TRANSITIONS[Event.CLAIM].target.value,
        attempt=tasks.c.attempt + 1,
        revision=tasks.c.revision + 1,
        ready=False,
        runner_id=_param("runner_id"),
        progress_fraction=None,  # that of the attempt before
        progress_message=None,
        started_at=_param("now"),
        updated_at=_param("now"),
    )
)

SETTLE: Update = (
    update(tasks)
    .where(_THE_ATTEMPT, RUNNING)
    .values(
        state=_param("state"),
        revision=tasks.c.revision + 1,
        result=_param("result"),
        result_ref=_param("result_ref"),
        error=_param("error"),
        rank=func.coalesce(_param("rank"), tasks.c.rank),
        ready=_param("ready"),
        run_at=func.coalesce(_param("run_at"), tasks.c.run_at),
        failures=tasks.c.failures + _param("failed"),
        crashes=tasks.c.crashes + _param("crashed"),
        suspect=func.coalesce(_param("suspect"), tasks.c.suspect),
        runner_id=None,
        started_at=_param("started_at"),
        finished_at=_param("finished_at"),
        updated_at=_param("now"),
    )
)

RECORD: Insert = insert(attempts).values(
    **{name: _param(name) for name in Attempt.__struct_fields__}
)

NOTE_LATE: Update = (
    update(attempts)
    .where(
        attempts.c.task_id == _param("task_id"),
        attempts.c.attempt == _param("attempt"),
        attempts.c.runner_id == _param("runner_id"),
        attempts.c.outcome.in_([kind.value for kind in sorted(CRASHES)]),
        attempts.c.late_outcome.is_(None),
    )
    .values(late_outcome=_param("outcome"), late_at=_param("now"))
)

REPORT: Update = (
    update(tasks)
    .where(_THE_ATTEMPT, RUNNING)
    .values(
        progress_fraction=func.coalesce(_param("fraction"), tasks.c.progress_fraction),
        progress_message=func.coalesce(_param("message"), tasks.c.progress_message),
        checkpoint=func.coalesce(_param("checkpoint"), tasks.c.checkpoint),
        updated_at=_param("now"),
    )
)

CANCEL: Update = (
    update(tasks)
    .where(_THESE, _in_source_of(Event.CANCEL))
    .values(
        state=TRANSITIONS[Event.CANCEL].target.value,
        revision=tasks.c.revision + 1,
        ready=False,
        cancel_requested=True,
        finished_at=_param("now"),
        updated_at=_param("now"),
    )
)

MARK_CANCELLED: Update = (
    update(tasks).where(_THESE, RUNNING).values(cancel_requested=True, updated_at=_param("now"))
)

RETRY: Update = (
    update(tasks)
    .where(_THESE, _in_source_of(Event.RETRY))
    .values(
        state=TRANSITIONS[Event.RETRY].target.value,
        revision=tasks.c.revision + 1,
        ready=True,
        rank=_param("now") - tasks.c.priority * _param("priority_step"),
        run_at=_param("now"),
        failures=0,
        crashes=0,
        suspect=False,
        cancel_requested=False,
        error=None,
        progress_fraction=None,
        progress_message=None,
        finished_at=None,
        updated_at=_param("now"),
    )
)

PROMOTE: Update = (
    update(tasks)
    .where(
        tasks.c.task_id.in_(
            select(tasks.c.task_id)
            .where(SCHEDULED, tasks.c.run_at <= _param("now"))
            .order_by(tasks.c.run_at)
            .limit(_param("limit"))
        )
    )
    .values(ready=True)
)

NEXT_DUE: Select[Any] = select(func.min(tasks.c.run_at)).where(SCHEDULED)

TASK_COLUMNS = [tasks.c[name] for name in Task.__struct_fields__]

BY_IDS: Select[Any] = select(*TASK_COLUMNS).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)

BY_KEYS: Select[Any] = select(
    tasks.c.idempotency_key, tasks.c.task_id, tasks.c.request_digest
).where(
    KEYED,
    tasks.c.namespace == _param("namespace"),
    tasks.c.idempotency_key.in_(bindparam("p_keys", expanding=True)),
)

_ENDED_BEFORE = ENDED, tasks.c.finished_at < _param("before")

OUTDATED: Select[Any] = (
    select(tasks.c.task_id)
    .where(*_ENDED_BEFORE)
    .order_by(tasks.c.finished_at)
    .limit(_param("limit"))
)

STILL_OUTDATED: Select[Any] = select(
    tasks.c.task_id, tasks.c.task_type, tasks.c.state, tasks.c.namespace, tasks.c.tags
).where(tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True)), *_ENDED_BEFORE)

PRUNE: tuple[Delete, ...] = tuple(
    delete(table).where(table.c.task_id.in_(bindparam("p_task_ids", expanding=True)))
    for table in (attempts, task_logs, tasks)
)

TAG: Insert = insert(task_tags).values(
    namespace=_param("namespace"), tag=_param("tag"), task_id=_param("task_id")
)

UNTAG: Delete = delete(task_tags).where(
    task_tags.c.namespace == _param("namespace"),
    task_tags.c.tag == _param("tag"),
    task_tags.c.task_id == _param("task_id"),
)

EVENT_TASKS: Select[Any] = select(
    tasks.c.task_id,
    tasks.c.task_type,
    tasks.c.namespace,
    tasks.c.state,
    tasks.c.attempt,
    tasks.c.revision,
    tasks.c.created_at,
    tasks.c.started_at,
    tasks.c.updated_at,
    tasks.c.progress_fraction,
    tasks.c.progress_message,
).where(tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True)))

_ENDED_ATTEMPTS = select(
    attempts.c.attempt,
    attempts.c.revision,
    attempts.c.state,
    attempts.c.started_at,
    attempts.c.finished_at,
    attempts.c.outcome,
    attempts.c.error,
).where(attempts.c.task_id == _param("task_id"))

EVENT_ATTEMPTS: Select[Any] = (
    _ENDED_ATTEMPTS.where(attempts.c.revision > _param("revision"))
    .order_by(attempts.c.attempt)
    .limit(_param("limit"))
)

EVENT_ATTEMPT_BEFORE: Select[Any] = (
    _ENDED_ATTEMPTS.where(attempts.c.revision <= _param("revision"))
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
        task_logs.c.task_id == _param("task_id"),
        task_logs.c.attempt >= _param("attempt"),
        (task_logs.c.attempt > _param("attempt")) | (task_logs.c.number > _param("number")),
    )
    .order_by(task_logs.c.attempt, task_logs.c.number)
    .limit(_param("limit"))
)

ATTEMPTS_OF: Select[Any] = (
    select(*[attempts.c[name] for name in Attempt.__struct_fields__])
    .where(attempts.c.task_id == _param("task_id"))
    .order_by(attempts.c.attempt)
)

RUNNING_TASKS: Select[Any] = select(
    tasks.c.task_id,
    tasks.c.task_type,
    tasks.c.attempt,
    tasks.c.runner_id,
    tasks.c.started_at,
    tasks.c.priority,
    tasks.c.failures,
    tasks.c.crashes,
    tasks.c.max_attempts,
    tasks.c.cancel_requested,
    tasks.c.suspect,
    tasks.c.namespace,
    tasks.c.revision,
    tasks.c.tags,
).where(
    RUNNING, tasks.c.namespace.in_(select(task_counts.c.namespace))
)  # that there is an index of

COUNTS: Select[Any] = select(
    task_counts.c.namespace, task_counts.c.task_type, task_counts.c.state, task_counts.c.tasks
)

_CANDIDATE_COLUMNS = [
    tasks.c[name]
    for name in (
        "task_id",
        "task_type",
        "state",
        "rank",
        "priority",
        "attempt",
        "payload",
        "failures",
        "crashes",
        "max_attempts",
        "timeout_seconds",
        "checkpoint",
        "cancel_requested",
        "suspect",
        "namespace",
        "revision",
        "tags",
        "payload_ref",
        "started_at",
    )
]


@cache
def candidates(types: int) -> CompoundSelect[Any]:
    """Select the first ready tasks of `types` task types, up to a limit of each."""
    return union_all(
        *[
            select(
                select(*_CANDIDATE_COLUMNS)
                .where(READY, tasks.c.task_type == _param(f"type_{i}"))
                .order_by(tasks.c.rank, tasks.c.task_id)
                .limit(_param(f"limit_{i}"))
                .subquery()
            )
            for i in range(types)
        ]
    )


@cache
def any_ready(types: int) -> Select[Any]:
    """Select one ready task of `types` task types, if there is any."""
    names = [_param(f"type_{i}") for i in range(types)]
    return select(tasks.c.task_id).where(READY, tasks.c.task_type.in_(names)).limit(1)


def limited(limits: Mapping[str, int]) -> dict[str, Any]:
    """Return the parameters of `candidates`: at most so many tasks of each type."""
    bound: dict[str, Any] = {}
    for i, (task_type, limit) in enumerate(limits.items()):
        bound |= {f"p_type_{i}": task_type, f"p_limit_{i}": limit}
    return bound


@cache
def count(dialect: str) -> Any:
    """Add to the counts of tasks, in the dialect's own words."""
    insert_into = postgresql.insert if dialect == "postgresql" else sqlite.insert
    statement: Any = insert_into(task_counts).values(
        namespace=_param("namespace"),
        task_type=_param("task_type"),
        state=_param("state"),
        tasks=_param("tasks"),
    )
    return statement.on_conflict_do_update(
        index_elements=[
            task_counts.c.namespace,
            task_counts.c.task_type,
            task_counts.c.state,
        ],
        set_={"tasks": task_counts.c.tasks + statement.excluded.tasks},
    )


@cache
def log(dialect: str) -> Any:
    """Keep a line of a running attempt, once, in the dialect's own words."""
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


@cache
def listing(*, state: bool, task_type: bool, cursor: bool) -> Select[Any]:
    """Select a page of a namespace's tasks, newest first, with the filters that are given."""
    statement = select(*TASK_COLUMNS).order_by(tasks.c.task_id.desc())
    statement = statement.where(tasks.c.namespace == _param("namespace"))
    if cursor:
        statement = statement.where(tasks.c.task_id < _param("cursor"))
    if state:
        statement = statement.where(tasks.c.state == _param("state"))
    if task_type:
        statement = statement.where(tasks.c.task_type == _param("task_type"))
    return statement.limit(_param("limit")).offset(_param("offset"))


@cache
def tagged(*, cursor: bool) -> Select[Any]:
    """Select the ids of a namespace's tasks with a tag, newest first."""
    statement = (
        select(task_tags.c.task_id)
        .where(task_tags.c.namespace == _param("namespace"), task_tags.c.tag == _param("tag"))
        .order_by(task_tags.c.task_id.desc())
    )
    if cursor:
        statement = statement.where(task_tags.c.task_id < _param("cursor"))
    return statement.limit(_param("limit")).offset(_param("offset"))


PING: Select[Any] = select(text("1"))
