"""Callbacks: the tasks that post the end of another task to its receiver. Pure rules, no I/O.

A callback is an ordinary task of a reserved type. The transaction that ends its parent inserts it.
Its payload holds all that is sent, so that each try sends the same body.
"""

import hashlib
import uuid
from typing import Any

from msgspec import json

from raytasks.model.lane_names import lane_of
from raytasks.model.states import State
from raytasks.model.task_filter import RESERVED
from raytasks.model.tasks import NewTask, Task
from raytasks.model.time_text import rfc3339

CALLBACK_TYPE = f"{RESERVED}callback"
"""The task type of callbacks."""

CALLBACK_POOL = f"{RESERVED}callbacks"
"""The pool of the runners that deliver callbacks, and nothing else."""

RETRY_SECONDS = (5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""The waits after each failed try, as Standard Webhooks 1.0 advises: 5 s, 5 min, up to a day."""

MAX_TRIES = len(RETRY_SECONDS) + 1

DELIVERY_SECONDS = 30.0
"""The time limit of an attempt. A receiver has less time: see `RECEIVER_SECONDS`."""

RECEIVER_SECONDS = 15.0
"""The seconds that a receiver has for its answer."""

MAX_TEXT = 2000
"""Number of characters of an error's message that are sent."""


def callback_id(task_id: str, revision: int, ended_at: float) -> str:
    """Return the id of the callback for one end of a task: a UUID of version 7.

    It follows from the task and its revision at that end, so a repeat makes no second callback. Its
    time is that of the end, in seconds since the epoch, so lists keep their order.
    """
    digest = hashlib.sha256(f"{task_id}/{revision}".encode()).digest()
    low = int.from_bytes(digest[:10], "big")
    low = low & ~(0xF << 76) | 0x7 << 76  # the version
    low = low & ~(0x3 << 62) | 0x2 << 62  # the variant
    milliseconds = int(ended_at * 1000) & (2**48 - 1)
    return str(uuid.UUID(int=milliseconds << 80 | low))


def callback_id_of(task: Task) -> str | None:
    """Return the id of the callback of a task's present end; None if it has none."""
    if task.callback_url is None or task.finished_at is None or not task.state.final:
        return None
    return callback_id(task.task_id, task.revision, task.finished_at)


def callback_of(task: Task) -> NewTask:
    """Return the callback of a task that has just ended, stamped with the time of its end."""
    task_id, ended_at = callback_id_of(task), task.finished_at
    assert task_id is not None, f"{task.task_id} has no callback"
    assert ended_at is not None, f"{task.task_id} has not ended"
    payload = {"url": task.callback_url, "task_id": task.task_id, "event": _event(task)}
    return NewTask(
        task_id=task_id,
        task_type=CALLBACK_TYPE,
        payload=json.encode(payload).decode(),
        priority=0,
        max_attempts=MAX_TRIES,
        timeout_seconds=DELIVERY_SECONDS,
        run_at=ended_at,
        created_at=ended_at,
        namespace=task.namespace,
        trace_context=task.trace_context,
        lane=lane_of(task.namespace, None),
    )


def _event(task: Task) -> dict[str, Any]:
    """Return the body of a callback. Neither payload nor result is in it: it stays thin."""
    return {
        "type": f"task.{task.state.lower()}",
        "timestamp": rfc3339(task.finished_at),
        "data": {
            "task_id": task.task_id,
            "task_type": task.task_type,
            "namespace": task.namespace,
            "state": task.state.value,
            "revision": task.revision,
            "attempt": task.attempt,
            "tags": [] if task.tags is None else json.decode(task.tags),
            "created_at": rfc3339(task.created_at),
            "started_at": rfc3339(task.started_at),
            "finished_at": rfc3339(task.finished_at),
            "error": _part(task.error, "type", "message"),
            "cancel_reason": _part(_reason(task), "code", "message"),
        },
    }


def _reason(task: Task) -> str | None:
    """Return why a task was cancelled. One that completed all the same was not."""
    return task.cancel_reason if task.state is State.CANCELLED else None


def _part(text: str | None, *names: str) -> dict[str, str | None] | None:
    """Return some members of a JSON object, each cut to `MAX_TEXT` characters."""
    if text is None:
        return None
    found = json.decode(text)
    return {
        name: None if found.get(name) is None else str(found[name])[:MAX_TEXT] for name in names
    }
