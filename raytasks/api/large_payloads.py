"""Submissions whose payloads go to the artifact store first, and away again if they are refused."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from raytasks.api.coalescer import Duplicates
from raytasks.api.service import Service
from raytasks.model.tasks import NewTask, RaytasksError, StoreUnavailable

Submitted = tuple[Sequence[NewTask], Duplicates]
"""The tasks as they were sent to the tracker, and the duplicates among them."""


class LargePayloads:
    """Stands before the coalescer: what is small passes through."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._open: set[asyncio.Task[Submitted]] = set()

    async def submit(self, tasks: Sequence[NewTask]) -> Submitted:
        """Submit tasks. Raises as `Coalescer.submit` does, and `ArtifactsUnavailable`.

        A client that hangs up cancels only its own waiting.
        """
        if not any(self._service.values.is_large(task.payload) for task in tasks):
            return tasks, await self._service.coalescer.submit(tasks)
        return await asyncio.shield(self._begun(self._submit(tasks)))

    async def _submit(self, tasks: Sequence[NewTask]) -> Submitted:
        values = self._service.values
        kept = await asyncio.to_thread(values.keep_payloads, tasks)
        try:
            duplicates = await self._service.coalescer.submit(kept)
        except StoreUnavailable:  # they may be stored all the same
            raise
        except RaytasksError:
            # A call that Ray has sent again can be refused after the first one was not.
            stored = await self._service.backend.tasks([task.task_id for task in kept])
            await asyncio.to_thread(values.forget, kept, stored)
            raise
        refused = [task for task in kept if task.task_id in duplicates]
        if refused:
            await asyncio.to_thread(values.forget, refused)
        return kept, duplicates

    def _begun(self, work: Coroutine[Any, Any, Submitted]) -> "asyncio.Task[Submitted]":
        task = asyncio.ensure_future(work)
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        return task
