"""The statements of each tick, by name. Every change of state is fenced by the transitions."""

from operator import itemgetter
from typing import Any

from msgspec.structs import astuple
from sqlalchemy import Column, ColumnElement, false, func, literal_column, null, update

from raytasks.model.states import TRANSITIONS, Event, State
from raytasks.model.tasks import AttemptRecord, NewTask
from raytasks.store.compiled import RowStatement, Values, Words
from raytasks.store.schema import attempts, task_tags, tasks
from raytasks.store.service_tables import task_counts, totals, tracker_epoch
from raytasks.store.statements import in_source_of


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


def _new(values: Values) -> dict[str, ColumnElement[Any]]:
    return {
        **values,
        "failures": _number(0),
        "crashes": _number(0),
        "has_files": values["payload_ref"].is_not(None),
        "cancel_requested": false(),
        "updated_at": values["created_at"],
    }


def _submit(values: Values, words: Words) -> Any:
    state = _state(TRANSITIONS[Event.SUBMIT].target)
    return words.insert(tasks, {**_new(values), "state": state, "attempt": _number(0)})


def _begin(values: Values, words: Words) -> Any:
    """Submit and claim in one: what `_submit` and then `_claim` would leave."""
    return words.insert(
        tasks,
        {
            **_new(values),
            "state": _state(TRANSITIONS[Event.CLAIM].target),
            "attempt": _number(1),
            "revision": _number(1),
            "ready": false(),
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
            checkpoint_number=null(),
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


def _relane(values: Values, words: Words) -> Any:
    return (
        update(tasks)
        .where(_the_attempt(values), in_source_of(Event.CLAIM, words.state))
        .values(lane=values["lane"], limit_values=values["limit_values"])
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


RENEW = RowStatement(_named(tracker_epoch, "epoch", "renewed_at"), _renew)

_NOT_STORED = ("delay_seconds", "expires_seconds", "batch", "by")

SUBMITTED = [name for name in NewTask.__struct_fields__ if name not in _NOT_STORED]
"""The stored fields of a new task: its relative times have become times."""

_SUBMITTED = itemgetter(*map(NewTask.__struct_fields__.index, SUBMITTED))

SUBMIT = RowStatement(_named(tasks, *SUBMITTED, "rank", "ready"), _submit)

BEGIN = RowStatement(
    _named(tasks, *SUBMITTED, "rank", "runner_id", "claimed_at", "started_at"), _begin
)

TAG = RowStatement(_named(task_tags, "namespace", "tag", "task_id"), _tag)

CLAIM = RowStatement(
    _named(tasks, "task_id", "attempt", "runner_id", "claimed_at", "started_at"), _claim
)

SETTLE = RowStatement(
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

RELANE = RowStatement(_named(tasks, "task_id", "attempt", "lane", "limit_values"), _relane)

RECORD = RowStatement(_named(attempts, *AttemptRecord.__struct_fields__, "place_id"), _record)

COUNT = RowStatement(_named(task_counts, "namespace", "task_type", "state", "tasks"), _count)

ADD_TOTAL = RowStatement(_named(totals, "namespace", "task_type", "name", "value"), _add_total)


def submitted(task: NewTask) -> tuple[Any, ...]:
    """Return the values of the fields `SUBMITTED`."""
    values: tuple[Any, ...] = _SUBMITTED(astuple(task))
    return values
