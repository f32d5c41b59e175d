"""Requests of the API with large payloads; see `raytasks.artifacts.large_submissions`."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from raytasks.api.route_service import Service
from raytasks.artifacts.large_submissions import change_with_payload, submit_with_payloads
from raytasks.model.changes import TaskChanges
from raytasks.model.tasks import Accepted, NewTask, Task
from raytasks.protocol.queries import KnownTasks, TasksById

Answer = TypeVar("Answer")

Submitted = tuple[Sequence[NewTask], Accepted]
"""The tasks as they were sent to the tracker, and the duplicates among them."""


class LargePayloads:
    """Stores large payloads before their tasks are submitted or changed; small ones pass."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._open: set[asyncio.Task[Any]] = set()

    async def submit(self, tasks: Sequence[NewTask]) -> Submitted:
        """Submit tasks. Raises as `Submitter.submit` does, and `ArtifactsUnavailable`.

        A client that disconnects cancels only its own wait.
        """
        service = self._service
        if not any(service.values.is_large(task.payload) for task in tasks):
            return tasks, await service.submitter.submit(tasks)
        call = submit_with_payloads(service.values, tasks, service.submitter.submit, self._known)
        return await asyncio.shield(self._begun(call))

    async def change(
        self,
        task_id: str,
        changes: TaskChanges,
        send: Callable[[TaskChanges], Coroutine[Any, Any, Task]],
    ) -> Task:
        """Change a task; see `change_with_payload`. Raises what `send` raises, too.

        A client that disconnects cancels only its own wait.
        """
        call = change_with_payload(self._service.values, task_id, changes, send, self._task)
        return await asyncio.shield(self._begun(call))

    async def _task(self, task_id: str) -> Task | None:
        return (await self._service.backend.read(TasksById([task_id]))).get(task_id)

    async def _known(self, task_ids: Sequence[str]) -> set[str]:
        return await self._service.backend.read(KnownTasks(task_ids))

    def _begun(self, work: Coroutine[Any, Any, Answer]) -> "asyncio.Task[Answer]":
        task = asyncio.ensure_future(work)
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return task
