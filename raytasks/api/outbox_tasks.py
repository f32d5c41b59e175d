"""A task of the outbox that is committed and not taken yet, as a task that waits."""

import asyncio
import contextlib
import time
from typing import Any

from pydantic_core import to_json

from raytasks.api.backend import Backend
from raytasks.handling.registry import Registry
from raytasks.model.outbox_documents import OutboxRow, sound_time
from raytasks.model.states import State
from raytasks.model.strict_json import parse_json
from raytasks.model.tasks import AttemptRecord, Task
from raytasks.protocol.commands import NudgeOutbox
from raytasks.protocol.queries import OutboxTask, TaskDetail

IN_OUTBOX = "in_outbox"
"""The code of the reason why such a task waits."""

_LOOK_SECONDS = 0.05

Found = tuple[Task, list[AttemptRecord]]


class CommittedTask(Task, frozen=True):
    """A task that its row of the outbox shows: nothing of it is known but what was submitted."""


class OutboxTasks:
    """Finds tasks that are in the outbox only. `Service.task` asks it for what it does not find."""

    def __init__(self, backend: Backend, registry: Registry) -> None:
        self._backend = backend
        self._registry = registry

    async def find(self, task_id: str, namespace: str, wait_seconds: float) -> Found | None:
        """Return a task of a namespace that is in the outbox; None if there is none.

        With `wait_seconds`, the tracker is nudged. Then the task is returned as soon as it is
        taken, or as it is in the outbox after that time. Raises `StoreUnavailable`.
        """
        row = await self._backend.read(OutboxTask(task_id))
        if row is None:  # it may just have been taken
            return await self._backend.read(TaskDetail(task_id))
        if row.namespace != namespace:
            return None
        if not wait_seconds:
            return committed_task(row, self._registry), []
        await self._backend.execute(NudgeOutbox())
        give_up_at = time.monotonic() + wait_seconds
        while (found := await self._backend.read(TaskDetail(task_id))) is None:
            if time.monotonic() >= give_up_at:
                return committed_task(row, self._registry), []
            await asyncio.sleep(_LOOK_SECONDS)
        return found


def committed_task(row: OutboxRow, registry: Registry) -> CommittedTask:
    """Return a row of the outbox as a task that waits. What cannot be read of it is left out."""
    value: Any = None
    with contextlib.suppress(ValueError):
        value = parse_json((row.document or "null").encode())
    given = value if isinstance(value, dict) else {}
    task_type = _of(given, "task_type", str, "unreadable")
    spec = registry.get(task_type)
    written_at = sound_time(row.created_at, time.time())
    tags = _of(given, "tags", list, [])
    return CommittedTask(
        task_id=row.row_id,
        task_type=task_type,
        state=State.PENDING,
        payload=to_json(given.get("payload")).decode(),
        result=None,
        error=None,
        priority=_of(given, "priority", int, 0),
        attempt=0,
        max_attempts=_of(
            given, "max_attempts", int, 1 if spec is None else spec.retry.max_attempts
        ),
        failures=0,
        crashes=0,
        cancel_requested=False,
        timeout_seconds=None if spec is None else spec.timeout_seconds,
        progress_fraction=None,
        progress_message=None,
        created_at=written_at,
        run_at=written_at,
        started_at=None,
        finished_at=None,
        updated_at=written_at,
        namespace=row.namespace,
        tags=to_json(tags).decode() if tags and all(isinstance(tag, str) for tag in tags) else None,
    )


def waiting_reasons() -> list[dict[str, Any]]:
    """Return why such a task waits, as `waiting_for` shows it."""
    return [
        {
            "code": IN_OUTBOX,
            "message": "it is committed in the outbox, and the tracker has not taken it yet",
            "fix": "it is taken within a second; if not, see outbox_stands in /health",
            "details": {},
            "until": None,
        }
    ]


def _of(given: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = given.get(name)
    return value if isinstance(value, kind) and not isinstance(value, bool) else default
