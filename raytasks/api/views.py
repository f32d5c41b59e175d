"""The tasks as clients see them: the models of the OpenAPI document, and the JSON that is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Raw, json
from msgspec.structs import replace
from pydantic import AwareDatetime, BaseModel, ConfigDict
from pydantic_core import from_json, to_json

from raytasks.handling.submission import rfc3339
from raytasks.model.acts import TaskAct
from raytasks.model.hidden import Mask
from raytasks.model.states import State
from raytasks.model.tasks import AttemptRecord, NewTask, Page, Task
from raytasks.model.trace_context import trace_id_of


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
    """An act of a person on a task. `action` is `retry` or `cancel`.

    `by` is the name of an API key. Where no key is needed, it is `local`. `bulk_id` is the bulk
    operation that the act was a part of, or null.
    """

    at: AwareDatetime
    by: str
    action: str
    bulk_id: str | None


class CancelReasonView(BaseModel):
    """The reason why a task was cancelled, or is to be.

    With the code `requested`, a person did it: `by` names them, and `message` is their reason.
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


class TaskView(BaseModel):
    """A task. `revision` grows by one at each change of its state.

    `snoozes` is how often an attempt snoozed it, or was released by its runner. The trace that its
    submission belongs to is `trace_id`, 32 hex digits. The list `hidden` has the JSON pointers of
    what is hidden in the payload; a mark is in its place.
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
    revision: int
    offloaded: OffloadedView | None
    trace_id: str | None
    hidden: list[str]


class WaitingView(BaseModel):
    """One reason why a task does not run yet.

    The codes, the strongest first:

    - `database_away`, `no_handler`, `paused`, `draining`, `not_due`;
    - `limit_full`, `rate`;
    - `never_fits`, `no_runner`, `no_resources`, `runner_starting`, `behind_others`.

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
    """The tasks of a batch, in its order."""

    tasks: list[TaskView]


@dataclass(frozen=True)
class ShownTask:
    """A task with marks in place of what a caller may not see; `hidden` are their places."""

    task: Task
    hidden: tuple[str, ...] = ()


HIDE_ALL = Mask(hides=True)
"""The mask that hides a whole payload."""


def show(task: Task, mask: Mask | None) -> ShownTask:
    """Return a task as it is shown through a mask."""
    if mask is None:
        return ShownTask(task)
    masked = mask.hide(task.payload)
    values = None if mask is HIDE_ALL else task.limit_values  # they are parts of the payload
    return ShownTask(replace(task, payload=masked.text, limit_values=values), masked.hidden)


def task_json(
    shown: ShownTask,
    history: Sequence[AttemptRecord] | None = None,
    *,
    tracebacks: bool = False,
    waiting_for: Sequence[Mapping[str, Any]] | None = None,
    live: Mapping[str, Any] | None = None,
    acts: Sequence[TaskAct] = (),
) -> bytes:
    """Return a task as JSON; with its attempts, acts and what it waits for, if they are given.

    `live` is what the tracker knows of the running attempt.

    Without `tracebacks`, those of errors are null, since they reveal the handlers' code. Payload
    and result are stored as JSON text and inserted unchanged.
    """
    task = shown.task
    has_progress = task.progress_fraction is not None or task.progress_message is not None
    view = {
        "task_id": task.task_id,
        "task_type": task.task_type,
        "state": task.state.value,
        "payload": Raw(task.payload.encode()),
        "result": None if task.result is None else Raw(task.result.encode()),
        "error": _error(task.error, tracebacks),
        "priority": task.priority,
        "attempt": task.attempt,
        "max_attempts": task.max_attempts,
        "crashes": task.crashes,
        "snoozes": task.snoozes,
        "timeout_seconds": task.timeout_seconds,
        "cancel_requested": task.cancel_requested,
        "cancel_reason": None if task.cancel_reason is None else Raw(task.cancel_reason.encode()),
        "progress": {"fraction": task.progress_fraction, "message": task.progress_message}
        if has_progress
        else None,
        "created_at": rfc3339(task.created_at),
        "run_at": rfc3339(task.run_at),
        "claimed_at": rfc3339(task.claimed_at),
        "started_at": rfc3339(task.started_at),
        "finished_at": rfc3339(task.finished_at),
        "updated_at": rfc3339(task.updated_at),
        "namespace": task.namespace,
        "tags": [] if task.tags is None else Raw(task.tags.encode()),
        "limit_values": {} if task.limit_values is None else Raw(task.limit_values.encode()),
        "revision": task.revision,
        "offloaded": _offloaded(task),
        "trace_id": trace_id_of(task.trace_context),
        "hidden": shown.hidden,
    }
    if history is not None:
        view["actions"] = [_act(act) for act in acts]
        view["waiting_for"] = waiting_for
        view["attempts"] = [_attempt(item, tracebacks) for item in history]
        view["attempts"] += _running_attempt(task, live or {})
        view["attempts_omitted"] = history[-1].attempt - len(history) if history else 0
    return json.encode(view)


def tasks_json(tasks: Sequence[ShownTask], *, tracebacks: bool = False) -> bytes:
    """Return a list of tasks as JSON."""
    listed = (task_json(task, tracebacks=tracebacks) for task in tasks)
    return b'{"tasks":[' + b",".join(listed) + b"]}"


def page_json(
    page: Page,
    tasks: Sequence[ShownTask],
    *,
    limit: int,
    offset: int,
    tracebacks: bool = False,
) -> bytes:
    """Return a page of the list as JSON, with its tasks as they are shown."""
    tail = to_json(
        {
            "total": page.total,
            "limit": limit,
            "offset": offset,
            "next_cursor": page.next_cursor,
        }
    )
    return tasks_json(tasks, tracebacks=tracebacks)[:-1] + b"," + tail[1:]


def accepted(new: NewTask, at: float) -> Task:
    """Return a new task as it was stored at `at`, by the tracker's clock."""
    new = new.stamped(at)
    return Task(
        task_id=new.task_id,
        task_type=new.task_type,
        state=State.PENDING,
        payload=new.payload,
        result=None,
        error=None,
        priority=new.priority,
        attempt=0,
        max_attempts=new.max_attempts,
        failures=0,
        crashes=0,
        cancel_requested=False,
        timeout_seconds=new.timeout_seconds,
        progress_fraction=None,
        progress_message=None,
        created_at=at,
        run_at=new.due_at,
        started_at=None,
        finished_at=None,
        updated_at=at,
        namespace=new.namespace,
        tags=new.tags,
        limit_values=new.limit_values,
        payload_ref=new.payload_ref,
        trace_context=new.trace_context,
    )


def _offloaded(task: Task) -> dict[str, int | None] | None:
    if task.payload_ref is None and task.result_ref is None:
        return None
    refs = {"payload": task.payload_ref, "result": task.result_ref}
    return {name: None if ref is None else from_json(ref)["bytes"] for name, ref in refs.items()}


def _error(text: str | None, tracebacks: bool) -> Any:
    if text is None:
        return None
    error = from_json(text)
    return error if tracebacks else {**error, "traceback": None}


def _attempt(item: AttemptRecord, tracebacks: bool) -> dict[str, Any]:
    return {
        "attempt": item.attempt,
        "outcome": item.outcome,
        "started_at": rfc3339(item.started_at),
        "finished_at": rfc3339(item.finished_at),
        "node_id": item.node_id,
        "worker_id": item.worker_id,
        "host": item.host,
        "pid": item.pid,
        "ray_task_id": item.ray_task_id,
        "ray_attempt": item.ray_attempt,
        "late_outcome": item.late_outcome,
        "late_at": rfc3339(item.late_at),
        "last_sign_at": None,
        "error": _error(item.error, tracebacks),
    }


def _act(act: TaskAct) -> dict[str, Any]:
    return {
        "at": rfc3339(act.at),
        "by": act.by,
        "action": act.action,
        "bulk_id": act.bulk_id,
    }


def _running_attempt(task: Task, live: Mapping[str, Any]) -> list[dict[str, Any]]:
    if task.state is not State.RUNNING:
        return []
    unknown = dict.fromkeys(("ray_task_id", "ray_attempt", "late_outcome", "late_at", "error"))
    known = {
        name: live.get(name) for name in ("node_id", "worker_id", "host", "pid", "last_sign_at")
    }
    began = {"attempt": task.attempt, "started_at": rfc3339(task.started_at)}
    return [{**began, "outcome": None, "finished_at": None, **known, **unknown}]
