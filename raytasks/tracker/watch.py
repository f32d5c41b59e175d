"""The other half of the event feed: one long poll for all in a process that wait for a task."""

import asyncio
import logging
from typing import Protocol

from raytasks.models import Attempt, Feed, Task
from raytasks.tracker.feed import Waiters

log = logging.getLogger(__name__)

_POLL_SECONDS = 20.0
_RETRY_SECONDS = 0.2


class Watched(Protocol):
    """What it needs of the tracker."""

    async def task(self, task_id: str) -> tuple[Task, list[Attempt]] | None:
        """Return a task with its ended attempts."""

    async def changes(self, epoch: int, after: int, seconds: float) -> Feed:
        """Return the changes of state after a number."""


class TaskWatch:
    """Follows the tracker's feed from the first wait on, and wakes those whose task changed."""

    def __init__(self, tracker: Watched) -> None:
        self._tracker = tracker
        self._waiters: Waiters[None] = Waiters()
        self._follower: asyncio.Task[None] | None = None

    async def final(
        self, task_id: str, seconds: float | None, namespace: str | None = None
    ) -> tuple[Task, list[Attempt]] | None:
        """Return a task as soon as it has ended, or as it is after `seconds`.

        None, and at once, if it is unknown, or not in the namespace (None: any).
        """
        if self._follower is None:
            self._follower = asyncio.ensure_future(self._follow())
        return await self._waiters.look_until(
            task_id,
            lambda: self._look(task_id, namespace),
            lambda found: found is None or found[0].state.final,
            seconds,
        )

    async def _look(self, task_id: str, namespace: str | None) -> tuple[Task, list[Attempt]] | None:
        found = await self._tracker.task(task_id)
        here = found is not None and namespace in (None, found[0].namespace)
        return found if here else None

    async def _follow(self) -> None:
        # No feed has such a place: the first answer tells the present one, and, as there is a gap,
        # has everybody look again who has come before it.
        epoch, after, away = 0, -1, False
        while True:
            try:
                feed = await self._tracker.changes(epoch, after, _POLL_SECONDS)
            except Exception as error:
                if not away:
                    log.warning("the event feed is away: %s", error)
                away = True
                await asyncio.sleep(_RETRY_SECONDS)
                continue
            away = False
            epoch, after = feed.epoch, feed.last
            if feed.gap:
                self._waiters.answer_all(None)
            for change in feed.changes:
                if change.state.final:
                    self._waiters.answer(change.task_id, None)
