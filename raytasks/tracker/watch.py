"""The other half of the event feed: one long poll for all in a process that wait for a task."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
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


class FeedQueue:
    """Pieces of the feed for somebody who takes them one after the other.

    Where they are more than `size` changes, they are dropped, and a gap stands for them.
    """

    def __init__(self, size: int = 20_000) -> None:
        self._size = size
        self._changes = 0
        self._pieces: list[Feed] = []
        self._ready = asyncio.Event()

    def put(self, feed: Feed) -> None:
        """Add a piece."""
        self._changes += len(feed.changes)
        if self._changes > self._size:
            self._pieces = [Feed(feed.epoch, feed.last, gap=True)]
            self._changes = 0
        else:
            self._pieces.append(feed)
        self._ready.set()

    async def get(self) -> list[Feed]:
        """Wait for pieces, and return all that are there."""
        await self._ready.wait()
        self._ready.clear()
        pieces, self._pieces, self._changes = self._pieces, [], 0
        return pieces


class TaskWatch:
    """Follows the tracker's feed from the first wait on, and wakes those whose task changed."""

    def __init__(self, tracker: Watched) -> None:
        self._tracker = tracker
        self._waiters: Waiters[None] = Waiters()
        self._listeners: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._queues: set[FeedQueue] = set()
        self._follower: asyncio.Task[None] | None = None

    @property
    def watched(self) -> int:
        """How many wait and listen."""
        listening = sum(len(events) for events in self._listeners.values())
        return len(self._waiters) + listening + len(self._queues)

    async def final(
        self, task_id: str, seconds: float | None, namespace: str | None = None
    ) -> tuple[Task, list[Attempt]] | None:
        """Return a task as soon as it has ended, or as it is after `seconds`.

        None, and at once, if it is unknown, or not in the namespace (None: any).
        """
        self._begin()
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

    @contextmanager
    def listening(self, task_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever something about a task may be new."""
        self._begin()
        news = asyncio.Event()
        self._listeners[task_id].add(news)
        try:
            yield news
        finally:
            self._listeners[task_id].discard(news)
            if not self._listeners[task_id]:
                del self._listeners[task_id]

    @contextmanager
    def following(self) -> Iterator[FeedQueue]:
        """Give a queue of all that comes in the feed from now on."""
        self._begin()
        queue = FeedQueue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def _begin(self) -> None:
        if self._follower is None:
            self._follower = asyncio.ensure_future(self._follow())

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
            self._pass_on(feed)

    def _pass_on(self, feed: Feed) -> None:
        if feed.gap:
            self._waiters.answer_all(None)
        for change in feed.changes:
            if change.state.final:
                self._waiters.answer(change.task_id, None)
        if self._listeners:
            self._wake(feed)
        if feed.gap or feed.changes:
            for queue in self._queues:
                queue.put(feed)

    def _wake(self, feed: Feed) -> None:
        if feed.gap or feed.news is None:
            task_ids = list(self._listeners)
        else:
            task_ids = [*feed.news, *(change.task_id for change in feed.changes)]
        for task_id in task_ids:
            for news in self._listeners.get(task_id, ()):
                news.set()
