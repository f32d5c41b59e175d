"""The reader's half of the event feed: it polls for all waiters of a process together."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from raytasks.model.tasks import AttemptRecord, Task
from raytasks.protocol.messages import Feed, FeedPart
from raytasks.protocol.queries import Reader, TaskDetail
from raytasks.protocol.waiters import Waiters

log = logging.getLogger(__name__)

POLL_SECONDS = 20.0
"""How long the tracker may wait before it answers a poll."""

LINGER_SECONDS = 1.0
"""How long a part of the feed is still followed after its last reader has left.

The next reader then finds it followed already.
"""

_RETRY_SECONDS = 0.2
_PACE_SECONDS = (0.002, 0.02)
"""The pause after an answer that concerned nobody here: the first one, and the longest."""


class Followed(Protocol):
    """The tracker as a follower of its feed sees it."""

    async def changes(self, epoch: int, after: int, seconds: float, part: FeedPart) -> Feed:
        """Return the entries of a part of the feed after a number. Wait up to `seconds` for any."""


class Watched(Followed, Reader, Protocol):
    """The tracker as `TaskWatch` needs it."""


class FeedQueue:
    """A queue of pieces of the feed for one reader.

    If it has more than `size` changes, they are dropped and replaced by a gap.
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
    """Follows the needed parts of the tracker's feed, and wakes the waiters that they concern.

    Each part is followed separately. So a waiter for the end of a task hears of ends only, also
    while others follow every change.
    """

    def __init__(self, tracker: Watched) -> None:
        self._tracker = tracker
        self._waiters = Waiters()
        self._listeners: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._queues: set[FeedQueue] = set()
        self._ends = FeedFollower(
            tracker, FeedPart.ENDS, self._tell_ends, lambda: len(self._waiters) > 0
        )
        self._news = FeedFollower(
            tracker, FeedPart.NEWS, self._tell_news, lambda: bool(self._listeners)
        )
        self._changes = FeedFollower(
            tracker, FeedPart.CHANGES, self._tell_changes, lambda: bool(self._queues)
        )

    @property
    def watched(self) -> int:
        """How many waiters, listeners and queues there are."""
        listening = sum(len(events) for events in self._listeners.values())
        return len(self._waiters) + listening + len(self._queues)

    async def final(
        self, task_id: str, seconds: float | None, namespace: str | None = None
    ) -> tuple[Task, list[AttemptRecord]] | None:
        """Return a task as soon as it has ended, or as it is after `seconds`.

        Return None at once if it is unknown, or not in the namespace (None: any namespace).
        """
        self._ends.begin()
        return await self._waiters.look_until(
            task_id,
            lambda: self._look(task_id, namespace),
            lambda found: found is None or found[0].state.final,
            seconds,
        )

    async def _look(
        self, task_id: str, namespace: str | None
    ) -> tuple[Task, list[AttemptRecord]] | None:
        found = await self._tracker.read(TaskDetail(task_id))
        here = found is not None and namespace in (None, found[0].namespace)
        return found if here else None

    @contextmanager
    def listening(self, task_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever there may be news of a task."""
        self._news.begin()
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
        """Give a queue of all changes in the feed from now on."""
        self._changes.begin()
        queue = FeedQueue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    def _tell_ends(self, feed: Feed) -> bool:
        if feed.gap:
            self._waiters.answer_all()
        woken = [task_id for task_id in feed.ends if self._waiters.answer(task_id)]
        return bool(woken)

    def _tell_news(self, feed: Feed) -> bool:
        woken = [task_id for task_id in feed.news if task_id in self._listeners]
        for task_id in self._listeners if feed.gap else woken:
            for news in self._listeners[task_id]:
                news.set()
        return bool(woken)

    def _tell_changes(self, feed: Feed) -> bool:
        if feed.gap or feed.changes:
            for queue in self._queues:
                queue.put(feed)
        return bool(self._queues)


class FeedFollower:
    """Polls a part of the feed as long as it is `needed`, and `LINGER_SECONDS` longer.

    It passes each answer to `tell`, which returns whether the answer concerned anybody here. While
    none does, it polls less often: the tasks of others are no reason to wake up.
    """

    def __init__(
        self,
        tracker: Followed,
        part: FeedPart,
        tell: Callable[[Feed], bool],
        needed: Callable[[], bool],
    ) -> None:
        self._tracker = tracker
        self._part = part
        self._tell = tell
        self._needed = needed
        self._needed_at = 0.0
        self._following: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Follow the part, as a reader is about to need it. The first reader starts the polls."""
        self._needed_at = asyncio.get_running_loop().time()
        if self._following is None:
            self._following = asyncio.ensure_future(self._follow())

    def close(self) -> None:
        """Stop following."""
        if self._following is not None:
            self._following.cancel()

    async def _follow(self) -> None:
        # No feed has this place. So the first answer has the present place, and a gap, which makes
        # all earlier waiters look again.
        epoch, after, away = 0, -1, False
        pause, longest = _PACE_SECONDS
        try:
            while self._go_on():
                try:
                    feed = await self._tracker.changes(epoch, after, POLL_SECONDS, self._part)
                except Exception as error:
                    if not away:
                        log.warning("the event feed is away: %s", error)
                    away = True
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                away = False
                last, epoch, after = (epoch, after), feed.epoch, feed.last
                if self._tell(feed) or last == (epoch, after):
                    pause = _PACE_SECONDS[0]
                elif not feed.gap and self._go_on():
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, longest)
        finally:
            self._following = None

    def _go_on(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._needed():
            self._needed_at = now
            return True
        return now - self._needed_at < LINGER_SECONDS
