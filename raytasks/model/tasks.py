"""The data and errors that pass between client, API, tracker and runners.

The messages of the hot path are frozen msgspec structs, which are cheap to make and to send (see
`raytasks.protocol.codec`). JSON in them is text that nobody parses on the way. The pydantic models
in `raytasks.api.views` describe the documents that clients see.

Times are in seconds since the epoch (UTC).
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from raytasks.model.acts import has_acts
from raytasks.model.bounds import NAMESPACE
from raytasks.model.states import OutcomeKind, State
from raytasks.model.uniqueness import OnConflict


class RaytasksError(Exception):
    """The base of the errors that raytasks itself raises."""


class TaskNotFound(RaytasksError):
    """There is no task with this id."""


class StateConflict(RaytasksError):
    """The task's present state does not allow what was asked."""


class RevisionConflict(RaytasksError):
    """The task has changed since the revision that the caller knows. Nothing was changed."""


class BacklogFull(RaytasksError):
    """More tasks wait than MAX_BACKLOG allows. No task of the submission was accepted."""


class KeyConflict(RaytasksError):
    """The idempotency key was used before, for another request. Nothing was accepted."""


class UniqueConflict(StateConflict):
    """The unique key is held by another open task. Nothing was changed.

    The text names that task. Of a submission, `pointers` are the JSON pointers of the keys that are
    held.
    """

    def __init__(self, message: str, pointers: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.pointers = tuple(pointers)

    @property
    def task_id(self) -> str:
        """The id of the task that holds the key; of a batch, the first one."""
        found = _TASK_ID.search(str(self))  # only the text goes from process to process
        return "" if found is None else found[0]


class TimesRefused(RaytasksError):
    """The tracker cannot compute the times of a schedule. Nothing was changed.

    The text is `field: message`, or the message alone.
    """

    FIELDS = ("cron", "timezone")

    @property
    def fault(self) -> tuple[str, str]:
        """The JSON pointer of the field at fault, or an empty one, and the message."""
        field, _, message = str(self).partition(": ")  # only the text goes between processes
        return (f"/{field}", message) if field in self.FIELDS else ("", str(self))


class NotUnderstood(RaytasksError, ValueError):
    """A message from another process is not valid. Sending it again would not help."""


class StoreUnavailable(RaytasksError):
    """The database cannot be reached or cannot write just now. Trying again may help.

    - `in_doubt`: the failed write may have been committed nevertheless.
    - `was_cut`: an old connection was found to be cut, so a new one may work.
    - `is_locked`: another session holds a lock. Only what needs the locked rows cannot be done.
    """

    in_doubt = True
    was_cut = False
    is_locked = False


class OtherProtocol(StoreUnavailable):
    """Another process speaks a version of our messages that is not understood, and nothing is done.

    The text says which one, and the fix.
    """

    in_doubt = False


class TaskFailed(RaytasksError):
    """The awaited task ended as FAILED or CANCELLED. The text says how.

    If an HTTP client raises it, `task` is the task's document, else None.
    """

    def __init__(self, message: str, task: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.task = task

    @property
    def error(self) -> dict[str, Any] | None:
        """The error of the last attempt, as the API shows it; None if there is none."""
        found: dict[str, Any] | None = None if self.task is None else self.task["error"]
        return found


DEFAULT_NAMESPACE = "default"
"""The namespace of tasks for which none is given."""

_NAMESPACE = re.compile(NAMESPACE)


def is_namespace(text: str) -> bool:
    """Return whether a text can be the name of a namespace."""
    return _NAMESPACE.fullmatch(text) is not None


_TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def is_task_id(text: str) -> bool:
    """Return whether a text can be the id of a task: a UUID in lower case, with dashes."""
    return _TASK_ID.fullmatch(text) is not None


class NewTask(Struct, frozen=True, omit_defaults=True, gc=False):
    """A checked submission, ready to be stored. `payload` is JSON text.

    - `idempotency_key`: of all submissions with one key only the first is stored. Each task of a
      batch has the batch's key with a number behind it; see `submission.batch_key`.
    - `request_digest`: tells whether a later submission with that key asks for the same.
    - `payload_ref`: names the file of a payload that is too large for SQL (JSON text). Then
      `payload` is `null`.
    - `run_at`: the due time, if the submitter has named one.
    - `delay_seconds`: without `run_at`, the task is due that long after the tracker has accepted
      it, by the tracker's clock; see `stamped`.
    - `trace_context`: the W3C trace context of the submission (JSON text), or None.
    - `limit_values`: the values of its keyed limits (a JSON object), or None.
    - `lane`: see `raytasks.model.lane_names`.
    - `unique_spec`: its unique key (JSON text), or None; see `raytasks.model.uniqueness`.
    - `expires_at`: it is cancelled if no attempt of it has been claimed by then.
    - `expires_seconds`: without `expires_at`, the same as long after it was accepted; see
      `stamped`.
    - `callback_url`: who hears of its end, or None.
    - `schedule`, `scheduled_for`: the schedule that made it, and for which time; or None.
    - `batch`: the id of the first task of its batch, if a task of the batch has a unique key.
    - `by`: who submits it, if it may replace a task that waits; it is not stored with the task.
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
    trace_context: str | None = None
    lane: str = ""
    limit_values: str | None = None
    unique_spec: str | None = None
    expires_at: float | None = None
    expires_seconds: float | None = None
    callback_url: str | None = None
    schedule: str | None = None
    scheduled_for: float | None = None
    batch: str | None = None
    by: str | None = None

    def stamped(self, now: float) -> "NewTask":
        """Return the task as accepted at `now`, with its times by the same clock.

        A task that was due when it was made, by any clock, is due now.
        """
        made_due = self.run_at is not None and self.run_at <= (self.created_at or 0.0)
        if self.run_at is None or made_due:
            run_at = now + self.delay_seconds
        else:
            run_at = max(self.run_at, now)
        expires_at = self.expires_at
        if self.expires_seconds is not None:
            expires_at = now + self.expires_seconds
        return replace(
            self,
            run_at=run_at,
            created_at=now,
            delay_seconds=0.0,
            expires_at=expires_at,
            expires_seconds=None,
        )

    @property
    def due_at(self) -> float:
        """The due time of a stamped task, in seconds since the epoch."""
        assert self.run_at is not None, "the task is not stamped"
        return self.run_at


class Duplicate(Struct, frozen=True, omit_defaults=True, gc=False):
    """A submission that was not stored, as a key of it belongs to the task `task_id`.

    Without `unique` it is the idempotency key. With `same`, that task was submitted by the same
    request.

    With `unique` it is the unique key, and `unique` says what was asked for. With `same`, that was
    done: the task is the answer, or has got what the submission says. Else the submission was
    refused. The id is empty for a task that was refused only because of others of its batch.
    """

    task_id: str
    same: bool
    unique: OnConflict | None = None


class Accepted(dict[str, Duplicate]):
    """The tracker's answer to a submission: the tasks that were not stored, by id.

    All other tasks were accepted at the time `at`, by the tracker's clock (see `NewTask.stamped`).
    It is None if at least one of them was accepted earlier.
    """

    at: float | None = None


class Task(Struct, frozen=True, omit_defaults=True, gc=False):
    """A task as stored. `payload`, `result`, `error` and `checkpoint` are JSON text.

    - `attempt`: the number of the latest attempt. It only grows.
    - `claimed_at`, `started_at`: when that attempt was claimed, and when it began. The second is
      None while it waits for a place to run.
    - `failures`, `crashes`: how many attempts failed or were lost in the present budget.
    - `tags`: a JSON list, or None.
    - `payload_ref`, `result_ref`: JSON text, or None.
    - `revision`: grows by one at each change of state.
    - `cancel_reason`: why it was cancelled, or is to be: `{code, message, by}` as JSON text.
    - `trace_context`, `limit_values`, `unique_spec`, `expires_at`, `callback_url`, `schedule`,
      `scheduled_for`: as in `NewTask`.
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
    cancel_reason: str | None = None
    trace_context: str | None = None
    limit_values: str | None = None
    unique_spec: str | None = None
    expires_at: float | None = None
    callback_url: str | None = None
    schedule: str | None = None
    scheduled_for: float | None = None

    @property
    def has_acts(self) -> bool:
        """Whether a person may have changed it."""
        return has_acts(
            self.state, self.attempt, self.revision, cancel_requested=self.cancel_requested
        )


class AttemptRecord(Struct, frozen=True, omit_defaults=True, gc=False):
    """One ended attempt of a task's history. `error` is JSON text.

    - `started_at`: when the attempt began; if it never did, when it was claimed.
    - `state`, `revision`: the task's state after the outcome, and the revision of that change. The
      revision before it was the claim of the attempt.
    - `late_outcome`, `late_at`: the outcome that a runner reported after the attempt was given up
      as lost, and when. It changed nothing.
    - `host`, `pid`: the machine's name, and the process's id there.
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
    host: str | None = None
    pid: int | None = None


class Running(Struct, frozen=True, omit_defaults=True, gc=False):
    """A claimed attempt as the tracker keeps it: its runner, and the budgets that it is judged by.

    - `company`: set for a suspect, which was lost before and may have killed its runner. At most
      that many suspects may share a process, and nothing else runs beside them.
    - `revision`: the task's revision since this attempt was claimed.
    - `large_checkpoint`: the task has a checkpoint in a file.
    - `waits`: the runner has not begun it yet.
    - `begun_at`: when it began, if that was later than its claim.
    - `due_at`: when it was due, if its wait from then until it begins is to be measured.
    - `trace_id`: the trace of its submission, or None.
    - `cancelled_by`: who has cancelled it.
    - `timeout_seconds`: its time limit, which its runner enforces; None for no limit.
    - `lane`, `limit_values`: those of its task; see `raytasks.model.lane_names`.
    - `callback_url`: who hears of its task's end, or None.
    - `rank`: its task's rank, which it keeps if it is given back.
    - `keyed`: its task has a unique key.
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
    trace_id: str | None = None
    cancelled_by: str | None = None
    timeout_seconds: float | None = None
    lane: str = ""
    limit_values: str | None = None
    callback_url: str | None = None
    rank: float = -math.inf
    keyed: bool = False

    @property
    def started_at(self) -> float | None:
        """When the attempt began; None while it waits for a place to run."""
        return None if self.waits else self.begun_at or self.claimed_at


class Page(Struct, frozen=True, omit_defaults=True):
    """One page of a list of tasks.

    - `total`: how many tasks there are in all; None if they are not counted.
    - `next_cursor`: the cursor of the next page; None for the last page. A page of a list by tag
      may be shorter than its limit although others follow.
    """

    tasks: Sequence[Task]
    total: int | None
    next_cursor: str | None = None
