"""The replica's half of the event feed: one long poll for all clients that wait for a task."""

import asyncio
import logging
import time

from raytasks.api.backend import Backend
from raytasks.models import Attempt, Task
from raytasks.tracker.feed import Waiters

log = logging.getLogger(__name__)

_POLL_SECONDS = 20.0
_RETRY_SECONDS = 0.2


class TaskWatch:
    """Follows the tracker's feed from the first wait on, and wakes those whose task changed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._waiters: Waiters[None] = Waiters()
        self._follower: asyncio.Task[None] | None = None

    async def final(self, task_id: str, seconds: float) -> tuple[Task, list[Attempt]] | None:
        """Return a task as soon as it has ended, or as it is after `seconds`; None if unknown."""
        deadline = time.monotonic() + seconds
        if self._follower is None:
            self._follower = asyncio.ensure_future(self._follow())
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            # Listen before looking, so that no change can come in between.
            waiting = asyncio.ensure_future(self._waiters.wait(task_id, remaining))
            try:
                await asyncio.sleep(0)
                found = await self._backend.task(task_id)
                if found is None or found[0].state.final or remaining == 0:
                    return found
                await waiting
            finally:
                waiting.cancel()

    async def _follow(self) -> None:
        # No feed has such a place: the first answer tells the present one, and, as there is a gap,
        # has everybody look again who has come before it.
        epoch, after = 0, -1
        while True:
            try:
                feed = await self._backend.changes(epoch, after, _POLL_SECONDS)
            except Exception as error:
                log.warning("the event feed is away: %s", error)
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            epoch, after = feed.epoch, feed.last
            if feed.gap:
                self._waiters.answer_all(None)
            for change in feed.changes:
                if change.state.final:
                    self._waiters.answer(change.task_id, None)
