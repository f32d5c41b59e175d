"""The statements of each tick, by name. Every change of state is fenced by the transitions."""

from collections.abc import Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple
from sqlalchemy import (
    Column,
    ColumnElement,
    Text,
    bindparam,
    case,
    cast,
    false,
    func,
    literal_column,
    null,
    select,
    union_all,
    update,
)

from raytasks.model.states import TRANSITIONS, Event, State
from raytasks.model.tasks import AttemptRecord, NewTask
from raytasks.store.compiled import (
    Batch,
    CompiledQuery,
    Values,
    Words,
    postgres_dialect,
    sqlite_dialect,
)
from raytasks.store.schema import (
    READY,
    attempts,
    task_counts,
    task_tags,
    tasks,
    totals,
    tracker_epoch,
)
from raytasks.store.statements import in_source_of

MAX_CLAIMS = 10_000
"""Maximum number of tasks that one tick claims."""

_READ_BYTES = 16 * 1024 * 1024

BODIES = select(cast(tasks.c.task_id, Text), tasks.c.payload, tasks.c.checkpoint).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)


class Candidate(Struct, frozen=True):
    """A task that may be claimed, in its present state: a row of `candidates`.

    A payload or a checkpoint that is not short is None here. The sizes are in bytes on PostgreSQL
    and in characters on SQLite; that of a checkpoint is None if there is none.
    """

    task_id: str
    task_type: str
    state: str
    rank: float
    priority: int
    attempt: int
    payload: str | None
    failures: int
    crashes: int
    max_attempts: int
    timeout_seconds: float | None
    checkpoint: str | None
    namespace: str
    revision: int
    tags: str | None
    payload_ref: str | None
    started_at: float | None
    company: int | None
    checkpoint_ref: str | None
    trace_context: str | None
    payload_size: int
    checkpoint_size: int | None
    cancel_requested: bool

    @property
    def size(self) -> int:
        """The size of its payload and its checkpoint together."""
        return self.payload_size + (self.checkpoint_size or 0)

    @property
    def is_filled(self) -> bool:
        """Whether its payload and its checkpoint are here, if it has one."""
        return self.payload is not None and (self.checkpoint is None) == (
            self.checkpoint_size is None
        )


def candidate(row: Sequence[Any]) -> Candidate:
    """Return the candidate of a row. SQLite has no booleans, only numbers."""
    *most, cancel_requested = row
    return Candidate(*most, bool(cancel_requested))  # type: ignore[call-arg]


def _named(table: Any, *names: str) -> dict[str, Column[Any]]:
    return {name: table.c[name] for name in names}


def _state(state: State) -> ColumnElement[str]:
    return literal_column(f"'{state}'", tasks.c.state.type)


def _number(number: int) -> ColumnElement[int]:
    return literal_column(str(number), tasks.c.attempt.type)


def _the_attempt(values: Values) -> ColumnElement[bool]:
    return (tasks.c.task_id == values["task_id"]) & (tasks.c.attempt == values["attempt"])


def _renew(values: Values, _words: Words) -> Any:
    return (
        update(tracker_epoch)
        .where(tracker_epoch.c.epoch == values["epoch"])
        .values(renewed_at=values["renewed_at"])
    )


def _submit(values: Values, words: Words) -> Any:
    return words.insert(
        tasks,
        {
            **values,
            "state": _state(TRANSITIONS[Event.SUBMIT].target),
            "attempt": _number(0),
            "failures": _number(0),
            "crashes": _number(0),
            "has_files": values["payload_ref"].is_not(None),
            "cancel_requested": false(),
            "updated_at": values["created_at"],
        },
    )


def _tag(values: Values, words: Words) -> Any:
    return words.insert(task_tags, values)


def _claim(values: Values, words: Words) -> Any:
    return (
        update(tasks)
        .where(_the_attempt(values), in_source_of(Event.CLAIM, words.state))
        .values(
            state=_state(TRANSITIONS[Event.CLAIM].target),
            attempt=tasks.c.attempt + _number(1),
            revision=tasks.c.revision + _number(1),
            ready=false(),
            runner_id=values["runner_id"],
            progress_fraction=null(),  # of the attempt before
            progress_message=null(),
            claimed_at=values["claimed_at"],
            started_at=values["started_at"],
            updated_at=values["claimed_at"],
        )
    )


def _settle(values: Values, words: Words) -> Any:
    return (
        update(tasks)
        .where(_the_attempt(values), in_source_of(Event.SUCCEED, words.state))
        .values(
            state=values["state"],
            revision=tasks.c.revision + _number(1),
            result=values["result"],
            result_ref=values["result_ref"],
            error=values["error"],
            error_type=values["error_type"],
            rank=func.coalesce(values["rank"], tasks.c.rank),
            ready=values["ready"],
            run_at=func.coalesce(values["run_at"], tasks.c.run_at),
            failures=tasks.c.failures + values["failures"],
            crashes=tasks.c.crashes + values["crashes"],
            snoozes=tasks.c.snoozes + values["snoozes"],
            company=values["company"],
            has_files=values["has_files"] | tasks.c.has_files,
            runner_id=null(),
            started_at=values["started_at"],
            finished_at=values["finished_at"],
            updated_at=values["updated_at"],
        )
    )


def _record(values: Values, words: Words) -> Any:
    return words.insert(attempts, values)


def _count(values: Values, words: Words) -> Any:
    statement = words.insert(task_counts, values)
    return statement.on_conflict_do_update(
        index_elements=[task_counts.c.namespace, task_counts.c.task_type, task_counts.c.state],
        set_={"tasks": task_counts.c.tasks + statement.excluded.tasks},
    )


def _add_total(values: Values, words: Words) -> Any:
    statement = words.insert(totals, values)
    return statement.on_conflict_do_update(
        index_elements=[totals.c.namespace, totals.c.task_type, totals.c.name],
        set_={"value": totals.c.value + statement.excluded.value},
    )


RENEW = Batch(_named(tracker_epoch, "epoch", "renewed_at"), _renew)

SUBMITTED = [name for name in NewTask.__struct_fields__ if name != "delay_seconds"]
"""The stored fields of a new task: its delay has become its due time."""

_SUBMITTED = itemgetter(*map(NewTask.__struct_fields__.index, SUBMITTED))

SUBMIT = Batch(_named(tasks, *SUBMITTED, "rank", "ready"), _submit)

TAG = Batch(_named(task_tags, "namespace", "tag", "task_id"), _tag)

CLAIM = Batch(_named(tasks, "task_id", "attempt", "runner_id", "claimed_at", "started_at"), _claim)

SETTLE = Batch(
    _named(
        tasks,
        "task_id",
        "attempt",
        "state",
        "result",
        "result_ref",
        "error",
        "error_type",
        "rank",  # null: unchanged; so is `run_at`
        "ready",
        "run_at",
        "failures",  # how many more; so are `crashes` and `snoozes`
        "crashes",
        "snoozes",
        "company",
        "has_files",  # true: there are files now; else unchanged
        "started_at",
        "finished_at",
        "updated_at",
    ),
    _settle,
)

RECORD = Batch(_named(attempts, *AttemptRecord.__struct_fields__), _record)

COUNT = Batch(_named(task_counts, "namespace", "task_type", "state", "tasks"), _count)

ADD_TOTAL = Batch(_named(totals, "namespace", "task_type", "name", "value"), _add_total)


@cache
def candidates(types: int, *, postgres: bool) -> CompiledQuery:
    """Return the query for the first ready tasks of `types` task types, up to a limit of each."""
    measure = func.octet_length if postgres else func.length  # neither reads the text
    special: dict[str, ColumnElement[Any]] = {
        "payload_size": measure(tasks.c.payload),
        "checkpoint_size": measure(tasks.c.checkpoint),
    }
    for name in ("payload", "checkpoint"):
        short = measure(tasks.c[name]) <= bindparam("p_short")
        special[name] = case((short, tasks.c[name])).label(name)
    if postgres:  # as text: else the driver makes an object that nobody needs
        special["task_id"] = cast(tasks.c.task_id, Text)
    columns: list[ColumnElement[Any]] = [
        special[name] if name in special else tasks.c[name] for name in Candidate.__struct_fields__
    ]
    statement = union_all(
        *[
            select(
                select(*columns)
                .where(READY, tasks.c.task_type == bindparam(f"p_type_{i}"))
                .order_by(tasks.c.rank, tasks.c.task_id)
                .limit(bindparam(f"p_limit_{i}"))
                .subquery()
            )
            for i in range(types)
        ]
    )
    return CompiledQuery(statement, postgres_dialect() if postgres else sqlite_dialect())


def limited(capacity_by_type: Mapping[str, int]) -> dict[str, Any]:
    """Return the parameters of `candidates`: the maximum number of tasks of each type.

    Together they are at most `MAX_CLAIMS`. The more tasks, the shorter a text must be to be read at
    once, so that all texts together have at most `_READ_BYTES`.
    """
    total = sum(capacity_by_type.values())
    if total > MAX_CLAIMS:
        capacity_by_type = {
            name: max(1, limit * MAX_CLAIMS // total) for name, limit in capacity_by_type.items()
        }
    bound: dict[str, Any] = {"p_short": _READ_BYTES // min(total, MAX_CLAIMS)}
    for i, (task_type, limit) in enumerate(capacity_by_type.items()):
        bound |= {f"p_type_{i}": task_type, f"p_limit_{i}": limit}
    return bound


def submitted(task: NewTask) -> tuple[Any, ...]:
    """Return the values of the fields `SUBMITTED`."""
    values: tuple[Any, ...] = _SUBMITTED(astuple(task))
    return values
