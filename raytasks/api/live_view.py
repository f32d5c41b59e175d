"""The facts that only the tracker knows: why a task waits, where it runs, what stands still.

Tasks and schedules are read from the database, which is fast and does not load the tracker. So this
is asked of few at a time, and for a moment only; without an answer they are shown without it.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from raytasks.api.outbox_tasks import CommittedTask, waiting_reasons
from raytasks.model.states import State
from raytasks.model.tasks import Task
from raytasks.protocol.queries import LiveAttempt, Query, Reader, ScheduleErrors, WaitingFor

MAX_SECONDS = 0.2
"""How long the tracker is waited for, in seconds."""

MAX_ASKED = 32
"""How many tasks a replica asks the tracker about at a time."""

Waiting = list[dict[str, Any]] | None
Live = dict[str, Any] | None


class LiveView:
    """Asks the tracker about tasks that have not ended, and about schedules."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._asked = 0

    async def look(self, task: Task) -> tuple[Waiting, Live]:
        """Return why a task waits, or where it runs. Both are None if the tracker does not say."""
        if task.state.final:
            return None, None
        if isinstance(task, CommittedTask):
            return waiting_reasons(), None
        if task.state is State.RUNNING and task.started_at is not None:
            live: Live = await self._ask(LiveAttempt(task.task_id))
            return None, live if live is not None and live["attempt"] == task.attempt else None
        asked = WaitingFor(
            task.task_id, task.task_type, task.run_at, task.namespace, task.limit_values
        )
        return await self._ask(asked), None

    async def schedule_errors(self, namespace: str) -> Mapping[str, str]:
        """Return why schedules stand still, by name; nothing if the tracker does not say."""
        found: Mapping[str, str] | None = await self._ask(ScheduleErrors(namespace))
        return found or {}

    async def _ask(self, query: Query[Any]) -> Any:
        if self._asked >= MAX_ASKED:
            return None
        self._asked += 1
        try:
            async with asyncio.timeout(MAX_SECONDS):
                return await self._reader.read(query)
        except Exception:
            return None
        finally:
            self._asked -= 1
