"""The API's documents as clients get them: JSON objects, with the types of their fields.

Times are RFC 3339 text in UTC.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict

LimitValue: TypeAlias = str | int | bool | None
"""The value of a limit by a value, such as an account's id."""

StateName = Literal["PENDING", "RUNNING", "RETRYING", "COMPLETED", "FAILED", "CANCELLED"]


class TaskError(TypedDict):
    """The reason why an attempt, or a task, failed."""

    type: str
    message: str
    retryable: bool
    traceback: str | None


class ProgressDocument(TypedDict):
    """The progress of a running attempt, from 0 to 1."""

    fraction: float | None
    message: str | None


class Offloaded(TypedDict):
    """The sizes of values outside of the database, in bytes; None for one that is not there."""

    payload: int | None
    result: int | None


class Waiting(TypedDict):
    """One reason why a task does not run yet."""

    code: str
    message: str
    fix: str | None
    details: dict[str, Any]
    until: str | None


class ActDocument(TypedDict):
    """An act of a person on a task: `retry`, `cancel`, `change` or `replace`."""

    at: str
    by: str
    action: str
    bulk_id: str | None


class CancelReason(TypedDict):
    """The reason why a task was cancelled, or is to be."""

    code: str
    message: str | None
    by: str | None


class AttemptDocument(TypedDict):
    """One attempt of a task's history. A running one has no `outcome` yet.

    It may have a `last_sign_at`: when it last reported anything.
    """

    attempt: int
    outcome: str | None
    started_at: str | None
    finished_at: str | None
    node_id: str | None
    worker_id: str | None
    host: str | None
    pid: int | None
    ray_task_id: str | None
    ray_attempt: int | None
    late_outcome: str | None
    late_at: str | None
    last_sign_at: str | None
    error: TaskError | None


class UniqueOptions(TypedDict):
    """The unique key of a submission. See `POST /tasks/`."""

    key: str
    until: NotRequired[Literal["started", "finished"]]
    seconds: NotRequired[float | None]
    on_conflict: NotRequired[Literal["return", "reject", "replace"]]


class UniqueDocument(TypedDict):
    """The unique key of a task."""

    key: str
    until: Literal["started", "finished"]
    seconds: float | None
    on_conflict: Literal["return", "reject", "replace"]


class TaskDocument(TypedDict):
    """A task. Only the answer for one task has `attempts`, `actions` and `waiting_for`.

    `attempts_omitted` is how many attempts before or between them are left out.

    If `offloaded` has a size, a list has None for that payload or result.
    """

    task_id: str
    task_type: str
    namespace: str
    state: StateName
    revision: int
    payload: Any
    result: Any
    offloaded: Offloaded | None
    error: TaskError | None
    priority: int
    tags: list[str]
    limit_values: dict[str, LimitValue]
    unique: UniqueDocument | None
    expires_at: str | None
    callback_url: str | None
    callback_task_id: str | None
    schedule: str | None
    scheduled_for: str | None
    attempt: int
    max_attempts: int
    crashes: int
    snoozes: int
    trace_id: str | None
    timeout_seconds: float | None
    cancel_requested: bool
    cancel_reason: CancelReason | None
    progress: ProgressDocument | None
    created_at: str
    run_at: str
    claimed_at: str | None
    started_at: str | None
    finished_at: str | None
    updated_at: str
    hidden: list[str]
    attempts: NotRequired[list[AttemptDocument]]
    actions: NotRequired[list[ActDocument]]
    waiting_for: NotRequired[list[Waiting] | None]
    attempts_omitted: NotRequired[int]


class SubmittedDocument(TaskDocument):
    """A task as the answer to its submission.

    A `duplicate` is no new task: it was open, and holds the unique key of the submission.
    """

    duplicate: bool


class StackDocument(TypedDict):
    """The Python stack of a running attempt, as text."""

    task_id: str
    attempt: int
    stack: str


class PageDocument(TypedDict):
    """One page of the list of tasks, newest first.

    With a tag, `total` is None: it is not counted.
    """

    tasks: list[TaskDocument]
    total: int | None
    limit: int
    offset: int
    next_cursor: str | None


class SubmitOptions(TypedDict, total=False):
    """The options of a submission, beside type and payload. None is the same as no value."""

    priority: int | None
    max_attempts: int | None
    timeout_seconds: float | None
    delay_seconds: float | None
    run_at: str | None
    tags: list[str] | None
    limit_values: Mapping[str, LimitValue] | None
    unique: UniqueOptions | None
    expires_seconds: float | None
    expires_at: str | None
    callback_url: str | None


class ChangeOptions(TypedDict, total=False):
    """New values for a task. What is left out stays as it is.

    None is a value: `max_attempts` and `timeout_seconds` become those of the handler, `expires_at`
    is taken away.
    """

    priority: int
    max_attempts: int | None
    timeout_seconds: float | None
    delay_seconds: float
    run_at: str
    payload: Any
    tags: list[str]
    limit_values: Mapping[str, LimitValue]
    expires_seconds: float
    expires_at: str | None


class SubmissionDocument(SubmitOptions):
    """One task of many to submit.

    Its type is a name, or the function or class of its handler.
    """

    task_type: str | Callable[..., Any]
    payload: Any


class TaskFilters(TypedDict, total=False):
    """The filters of a list of tasks. None is the same as no filter.

    `state` may be a list: any of these states. The times are RFC 3339 text with a time zone.
    """

    state: str | list[str] | None
    task_type: str | None
    tag: str | None
    created_after: str | None
    created_before: str | None
    error_type: str | None


class BulkFilters(TaskFilters, total=False):
    """The filters of a bulk operation. Without any other filter, `all` must be true."""

    all: bool | None


class PageQuery(TaskFilters, total=False):
    """The query of one page: filters, and a `cursor` or an `offset`, not both."""

    limit: int | None
    offset: int | None
    cursor: str | None


class Matched(TypedDict):
    """How many tasks an operation would change; None if there are too many to count."""

    matched: int | None


class BulkOperationDocument(Matched):
    """An operation on many tasks, with its progress."""

    bulk_id: str
    action: Literal["retry", "cancel"]
    state: Literal["RUNNING", "DONE"]
    filter: TaskFilters
    looked_at: int
    changed: int
    skipped: int
    created_at: str
    finished_at: str | None
    held_by: str | None
    by: str
    warnings: NotRequired[list[str]]
    """Only in the answer that begins a retry: it names tasks that would wait for ever."""


class Artifact(TypedDict):
    """A file that belongs to a task. `url` is a link that expires."""

    name: str
    bytes: int
    url: str


class StateData(TypedDict):
    """A task's change of state. `at` is None if the time was not kept.

    If a person made it, `by` and `action` say who, and how. `outcome` and `error` are those of the
    attempt that ended with this change. The feed of all tasks has neither.
    """

    task_id: str
    task_type: str
    namespace: str
    state: StateName
    attempt: int
    revision: int
    at: str | None
    by: str | None
    action: str | None
    outcome: NotRequired[str | None]
    error: NotRequired[dict[str, Any] | None]


class LogData(TypedDict):
    """A line that a handler has logged."""

    attempt: int
    level: str
    message: str
    at: str


class ServiceLogData(TypedDict):
    """A line of the service's log. Its `fields` say what it is about, such as `task_id`."""

    id: str
    at: str
    level: str
    message: str
    fields: dict[str, str | int | float | bool]


class LogPageDocument(TypedDict):
    """Lines of the service's log, the oldest first; `next` is the place to go on after."""

    lines: list[ServiceLogData]
    next: str
    gap: bool
    more: bool


class LogQuery(TypedDict, total=False):
    """The query of the service's log, as of `GET /logs`. `level` is the lowest level."""

    after: str | None
    lines: int | None
    level: str | None
    task_type: str | None


class ProgressData(TypedDict):
    """The progress of the running attempt."""

    attempt: int
    fraction: float | None
    message: str | None


class EndData(TypedDict):
    """The end of the task."""

    task_id: str
    state: StateName
