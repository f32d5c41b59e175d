"""What crosses the borders between client, API, tracker and runners.

The messages of the hot path are frozen msgspec structs, which are cheap to make and to send (see
`raytasks.protocol.codec`). JSON travels in them as text that nobody parses on the way. The pydantic
models in `raytasks.api.views` describe what clients see.

Times are seconds since the epoch, in UTC.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from raytasks.model.bounds import NAMESPACE
from raytasks.model.states import OutcomeKind, State


class RaytasksError(Exception):
    """The base of the errors that raytasks itself raises."""


class TaskNotFound(RaytasksError):
    """There is no task with this id."""


class StateConflict(RaytasksError):
    """The task's present state does not allow what was asked."""


class BacklogFull(RaytasksError):
    """More tasks wait than MAX_BACKLOG allows; nothing of the submission was accepted."""


class KeyConflict(RaytasksError):
    """The idempotency key was used before, for another request; nothing was accepted."""


class NotUnderstood(RaytasksError, ValueError):
    """A message that another process has sent is none: sending it again would not help."""


class StoreUnavailable(RaytasksError):
    """The database cannot be reached or cannot write just now; trying again may help.

    `in_doubt` says whether a write that failed so may have been committed all the same, and
    `was_cut` whether an old connection was found to be cut, so that a new one may do.
    """

    in_doubt = True
    was_cut = False


class TaskFailed(RaytasksError):
    """A task that was waited for ended as FAILED or CANCELLED. The text says how.

    `task` is its document where an HTTP client has raised it, else None.
    """

    def __init__(self, message: str, task: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.task = task

    @property
    def error(self) -> dict[str, Any] | None:
        """The error of the last attempt, as the API shows it; None if there is none here."""
        found: dict[str, Any] | None = None if self.task is None else self.task["error"]
        return found


DEFAULT_NAMESPACE = "default"
"""Where tasks are that nobody puts elsewhere."""

_NAMESPACE = re.compile(NAMESPACE)


def is_namespace(text: str) -> bool:
    """Return whether a text can be the name of a namespace."""
    return _NAMESPACE.fullmatch(text) is not None


_TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_task_id(text: str) -> bool:
    """Return whether a text can be the id of a task: a UUID, in small letters, with its dashes."""
    return _TASK_ID.fullmatch(text) is not None


class NewTask(Struct, frozen=True, omit_defaults=True, gc=False):
    """A checked submission, ready to be stored. `payload` is JSON text.

    Of all submissions with one `idempotency_key` only the first is stored; `request_digest` tells
    whether a later one asks for the same. The tasks of a batch have the batch's key with a number
    behind it; see `submission.batch_key`. `payload_ref` says where a payload is that is too large
    to be stored here: JSON text, and `payload` is `null` then.

    Only a due time that its submitter has named is one: `run_at`. Without it the task is due
    `delay_seconds` after the tracker has taken it in, by the tracker's clock; see `stamped`.
    """

    task_id: str
    task_type: str
    payload: str
    priority: int
    max_attempts: int
    timeout_seconds: float | None
    run_at: float | None = None
    created_at: float | None = None
    idempotency_key: str | None = None
    request_digest: str | None = None
    namespace: str = DEFAULT_NAMESPACE
    tags: str | None = None
    payload_ref: str | None = None
    delay_seconds: float = 0.0

    def stamped(self, now: float) -> "NewTask":
        """Return the task as it is taken in now, with its times by the clock that says so.

        What was due when it was made, by whatever clock, is due now.
        """
        made_due = self.run_at is not None and self.run_at <= (self.created_at or 0.0)
        if self.run_at is None or made_due:
            run_at = now + self.delay_seconds
        else:
            run_at = max(self.run_at, now)
        return replace(self, run_at=run_at, created_at=now, delay_seconds=0.0)

    @property
    def due_at(self) -> float:
        """When a stamped task is due, in seconds since the epoch."""
        assert self.run_at is not None, "the task is not stamped"
        return self.run_at


class Duplicate(Struct, frozen=True, omit_defaults=True, gc=False):
    """What became of a submission whose idempotency key was used before: it was not stored.

    `task_id` is the task that has the key; with `same`, it was submitted by the same request.
    """

    task_id: str
    same: bool


class Accepted(dict[str, Duplicate]):
    """What the tracker answers to a submission: those that were not stored, by their ids.

    All others were taken in at the time `at`, by the tracker's clock (see `NewTask.stamped`); None:
    at least one of them is there since an earlier time.
    """

    at: float | None = None


class Task(Struct, frozen=True, omit_defaults=True, gc=False):
    """A task as stored. `payload`, `result`, `error` and `checkpoint` are JSON text.

    `attempt` is the number of the latest attempt and only grows; it was claimed at `claimed_at`,
    and began at `started_at`, None as long as it waits for a place to run. `failures` and `crashes`
    count the attempts that failed and were lost in the present budget. `tags` is a JSON list, or
    None;
    `payload_ref` and `result_ref` are JSON text. `revision` grows by one at each change of state.
    """

    task_id: str
    task_type: str
    state: State
    payload: str
    result: str | None
    error: str | None
    priority: int
    attempt: int
    max_attempts: int
    failures: int
    crashes: int
    cancel_requested: bool
    timeout_seconds: float | None
    progress_fraction: float | None
    progress_message: str | None
    created_at: float
    run_at: float
    started_at: float | None
    finished_at: float | None
    updated_at: float
    namespace: str = DEFAULT_NAMESPACE
    tags: str | None = None
    revision: int = 0
    payload_ref: str | None = None
    result_ref: str | None = None
    claimed_at: float | None = None
    snoozes: int = 0


class AttemptRecord(Struct, frozen=True, omit_defaults=True, gc=False):
    """One ended attempt of a task's history. `error` is JSON text.

    `late_outcome` is what a runner said of an attempt at `late_at`, after it was given up as lost:
    it changed nothing any more. `state` is what the task became by the outcome, and `revision`
    that of this change; the one before it was the claim of the attempt. `started_at` is when it
    began; of one that never did, when it was claimed.
    """

    task_id: str
    attempt: int
    outcome: OutcomeKind
    runner_id: str
    started_at: float
    finished_at: float
    node_id: str | None = None
    worker_id: str | None = None
    ray_task_id: str | None = None
    ray_attempt: int | None = None
    error: str | None = None
    late_outcome: OutcomeKind | None = None
    late_at: float | None = None
    state: State | None = None
    revision: int | None = None


class Running(Struct, frozen=True, omit_defaults=True, gc=False):
    """A claimed attempt as the tracker keeps it: who runs it, and the budgets it is judged by.

    One with a `company` was lost before, and may be what killed its runner: of such suspects at
    most so many may share a process, and nothing else runs beside them. `revision` is the task's
    since this attempt was claimed. One that its runner has not begun yet `waits`, and has a
    `due_at` where the wait until then is to be counted; `begun_at` is when it began, where that was
    later than its claim. With `large_checkpoint` its task has one that is in a file.
    """

    task_id: str
    task_type: str
    attempt: int
    runner_id: str
    claimed_at: float
    priority: int
    failures: int
    crashes: int
    max_attempts: int
    cancel_requested: bool = False
    company: int | None = None
    namespace: str = DEFAULT_NAMESPACE
    revision: int = 1
    tags: str | None = None
    large_checkpoint: bool = False
    waits: bool = False
    begun_at: float | None = None
    due_at: float | None = None

    @property
    def started_at(self) -> float | None:
        """When the attempt has begun; None while it waits for a place to run."""
        return None if self.waits else self.begun_at or self.claimed_at


class Page(Struct, frozen=True, omit_defaults=True):
    """One page of a list, and how many tasks there are in all; None where that is not counted.

    `next_cursor` is the cursor of the next page, None for the last one. A page of a list by tag
    may be shorter than its limit, and others follow all the same.
    """

    tasks: Sequence[Task]
    total: int | None
    next_cursor: str | None = None


REMOTE_POOL = "remote"
"""The pool of the task runner, which starts a Ray remote task for each attempt."""

SHARED_POOL = "shared"
"""The pool of warm runners for plain function handlers."""


class HandlerKind(StrEnum):
    """Where the attempts of a handler run."""

    FUNCTION = "function"  # in the shared pool of warm runners
    CLASS = "class"  # in a pool of warm runners of its own
    REMOTE = "remote"  # each in a Ray remote task of its own


@dataclass(frozen=True, slots=True)
class HandlerInfo:
    """What the tracker and its clients know of a handler: data only, none of the user's code.

    `description` is the public JSON object that `/task-types` shows. `runtime_env` is the one of
    the processes in which the handler runs, as far as the handler asks for one.
    """

    task_type: str
    kind: HandlerKind
    actors: tuple[int, int]
    ray_options: dict[str, Any] = field(default_factory=dict)
    description: dict[str, object] = field(default_factory=dict)
    runtime_env: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def pool(self) -> str:
        """The name of the pool of runners that runs this handler's attempts."""
        match self.kind:
            case HandlerKind.FUNCTION:
                return SHARED_POOL
            case HandlerKind.CLASS:
                return f"class.{self.task_type}"
            case HandlerKind.REMOTE:
                return REMOTE_POOL
