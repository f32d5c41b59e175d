"""The tasks as clients see them: the models of the OpenAPI document, and the JSON that is sent."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import Raw, json
from msgspec.structs import replace
from pydantic_core import from_json, to_json

from raytasks.model.acts import TaskAct
from raytasks.model.callbacks import callback_id_of
from raytasks.model.hidden import Mask
from raytasks.model.states import State
from raytasks.model.tasks import AttemptRecord, NewTask, Page, Task
from raytasks.model.time_text import rfc3339
from raytasks.model.trace_context import trace_id_of
from raytasks.model.uniqueness import shown_unique


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
        "unique": shown_unique(task.unique_spec),
        "expires_at": rfc3339(task.expires_at),
        "callback_url": task.callback_url,
        "callback_task_id": callback_id_of(task),
        "schedule": task.schedule,
        "scheduled_for": rfc3339(task.scheduled_for),
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
        unique_spec=new.unique_spec,
        expires_at=new.expires_at,
        callback_url=new.callback_url,
        schedule=new.schedule,
        scheduled_for=new.scheduled_for,
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
