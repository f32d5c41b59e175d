"""The tasks as the OpenAPI document describes them."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from raytasks.model.states import State
from raytasks.model.uniqueness import OnConflict, UniqueUntil


class ErrorView(BaseModel):
    """The reason why an attempt, or a task, failed."""

    type: str
    message: str
    retryable: bool
    traceback: str | None


class ProgressView(BaseModel):
    """How far a running attempt has come."""

    fraction: float | None
    message: str | None


class AttemptView(BaseModel):
    """One attempt of a task's history.

    `started_at` is null while the attempt waits for a place to run. If the attempt ended before it
    began, it is when it was claimed. Ray's own retries within the attempt are counted by
    `ray_attempt`, from 0. The `late_outcome` is what its process reported after the attempt was
    marked lost; it changed nothing. Its process is `pid` on the machine `host`. The `last_sign_at`
    is set for a running attempt only: when it last reported progress, a checkpoint or a log line;
    else when it began.
    """

    attempt: int
    outcome: str | None
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    node_id: str | None
    worker_id: str | None
    host: str | None
    pid: int | None
    ray_task_id: str | None
    ray_attempt: int | None
    late_outcome: str | None
    late_at: AwareDatetime | None
    last_sign_at: AwareDatetime | None
    error: ErrorView | None


class ActView(BaseModel):
    """An act of a person on a task. `action` is `retry`, `cancel`, `change` or `replace`.

    `by` is the name of an API key. Where no key is needed, it is `local`. `bulk_id` is the bulk
    operation that the act was a part of, or null.
    """

    at: AwareDatetime
    by: str
    action: str
    bulk_id: str | None


class CancelReasonView(BaseModel):
    """The reason why a task was cancelled, or is to be.

    With the code `requested`, a person did it: `by` names them, and `message` is their reason. With
    `expired` it had not begun in time, and with `duplicate` another task stands for it.
    """

    code: str
    message: str | None
    by: str | None


class OffloadedView(BaseModel):
    """The sizes in bytes of large values in the artifact store; null for one that is not there.

    If a value is not in the answer, it is null there; `GET /tasks/{task_id}` has it.
    """

    payload: int | None
    result: int | None


class UniqueView(BaseModel):
    """The unique key of a task: see `POST /tasks/`."""

    key: str
    until: UniqueUntil
    seconds: float | None
    on_conflict: OnConflict


class TaskView(BaseModel):
    """A task. `revision` grows by one at each change of its state.

    `snoozes` is how often an attempt snoozed it, or was released by its runner. The trace that its
    submission belongs to is `trace_id`, 32 hex digits. The list `hidden` has the JSON pointers of
    what is hidden in the payload; a mark is in its place. Once it has ended, `callback_task_id` is
    the task that posts its end to the `callback_url`.
    """

    model_config = ConfigDict(title="Task")

    task_id: str
    task_type: str
    state: State
    payload: Any
    result: Any
    error: ErrorView | None
    priority: int
    attempt: int
    max_attempts: int
    crashes: int
    snoozes: int
    timeout_seconds: float | None
    cancel_requested: bool
    cancel_reason: CancelReasonView | None
    progress: ProgressView | None
    created_at: AwareDatetime
    run_at: AwareDatetime
    claimed_at: AwareDatetime | None
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    updated_at: AwareDatetime
    namespace: str
    tags: list[str]
    limit_values: dict[str, str | int | bool | None]
    unique: UniqueView | None
    expires_at: AwareDatetime | None
    callback_url: str | None
    callback_task_id: str | None
    schedule: str | None
    scheduled_for: AwareDatetime | None
    revision: int
    offloaded: OffloadedView | None
    trace_id: str | None
    hidden: list[str]


class WaitingView(BaseModel):
    """One reason why a task does not run yet.

    The codes, the strongest first:

    - `database_away`, `no_handler`, `paused`, `draining`, `not_due`;
    - `limit_full`, `rate`;
    - `no_placement_group`, `never_fits`, `no_runner`, `placement_group_pending`, `no_resources`,
      `nodes_coming`, `runner_starting`, `behind_others`;
    - `in_outbox`: it is committed, and the tracker has not taken it yet.

    `until` is when it ends by itself, if that is known. What is in `details` depends on the code.
    """

    code: str
    message: str
    fix: str | None
    details: dict[str, Any]
    until: AwareDatetime | None


class TaskWithAttemptsView(TaskView):
    """A task with its newest attempts. The last one may still run; then it has no outcome.

    At most 100 attempts are shown, and of the snoozed ones only the last are kept. The number of
    attempts before or between them that are not shown is `attempts_omitted`. The list `waiting_for`
    says why a task does not run yet, the strongest reason first. It is null once its handler runs
    or the task has ended, and if the tracker does not answer within a moment. It is empty if
    nothing holds the task back. The list `actions` has what people did to the task, the newest 100
    acts, in order.
    """

    actions: list[ActView]
    waiting_for: list[WaitingView] | None
    attempts: list[AttemptView]
    attempts_omitted: int


class TaskPageView(BaseModel):
    """One page of the list of tasks, newest first. `total` is null if it is not counted."""

    tasks: list[TaskView]
    total: int | None
    limit: int
    offset: int
    next_cursor: str | None


class StackView(BaseModel):
    """The Python stack of a running attempt, as text."""

    task_id: str
    attempt: int
    stack: str


class BatchView(BaseModel):
    """The tasks of a batch, in its order.

    The list `duplicates` has the places of those that are no new tasks, but hold a unique key. The
    first place is 0.
    """

    tasks: list[TaskView]
    duplicates: list[int]
