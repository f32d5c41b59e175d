"""The event feed: a ring of recent changes of state, numbered, and those who wait for one."""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from itertools import takewhile
from typing import Generic, TypeVar

from msgspec.structs import replace

from raytasks.models import Feed, StateChange

Answer = TypeVar("Answer")
Found = TypeVar("Found")


class FeedRing:
    """The newest `size` changes of state, and which tasks have news besides (of `size` tasks).

    `epoch` tells the feed of one tracker from the next. Changes and news are numbered together.
    """

    def __init__(self, epoch: int, *, size: int = 20_000) -> None:
        self._epoch = epoch
        self._size = size
        self._ring: deque[StateChange] = deque()
        self._told: dict[str, int] = {}  # the number of each task's newest news, the oldest first
        self._last = 0
        self._lost = 0  # the number of the last change that is not in the ring any more
        self._untold = 0  # likewise of news
        self._news = asyncio.Event()

    def publish(self, changes: Iterable[StateChange]) -> None:
        """Add changes, and number them. Wakes those who wait."""
        before = self._last
        for change in changes:
            self._last += 1
            self._ring.append(replace(change, number=self._last))
            if len(self._ring) > self._size:
                self._lost = self._ring.popleft().number
        if self._last > before:
            self._news.set()

    def tell(self, task_ids: Iterable[str]) -> None:
        """Note that tasks have news that are no change of state. Wakes those who wait."""
        self._last += 1
        for task_id in task_ids:
            self._told.pop(task_id, None)
            self._told[task_id] = self._last
        while len(self._told) > self._size:
            self._untold = self._told.pop(next(iter(self._told)))
        self._news.set()

    def break_off(self) -> None:
        """Note that changes may be missing: whoever follows hears of a gap."""
        self._ring.clear()
        self._told.clear()
        self._last += 1
        self._lost = self._untold = self._last
        self._news.set()

    def since(self, epoch: int, after: int) -> Feed:
        """Return the changes and the news after number `after`, at once."""
        if epoch != self._epoch or after > self._last:
            return Feed(self._epoch, self._last, gap=True)
        recent = list(takewhile(lambda change: change.number > after, reversed(self._ring)))
        told = takewhile(lambda item: item[1] > after, reversed(self._told.items()))
        return Feed(
            self._epoch,
            self._last,
            tuple(recent[::-1]),
            gap=after < self._lost,
            news=None if after < self._untold else tuple(task_id for task_id, _ in told),
        )

    async def wait(self, epoch: int, after: int, seconds: float) -> Feed:
        """Return the changes after `after`, as soon as there are any, or none after `seconds`."""
        if epoch == self._epoch and after == self._last:
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        return self.since(epoch, after)


class Waiters(Generic[Answer]):
    """Those who wait for something about a task, by its id."""

    def __init__(self) -> None:
        self._futures: defaultdict[str, set[asyncio.Future[Answer]]] = defaultdict(set)

    def __len__(self) -> int:
        return sum(len(futures) for futures in self._futures.values())

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._futures

    async def wait(self, task_id: str, seconds: float | None) -> Answer | None:
        """Wait until the task's id is answered; return None when `seconds` have passed."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._futures[task_id].add(future)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            return None
        finally:
            waiting = self._futures[task_id]
            waiting.discard(future)
            if not waiting:
                del self._futures[task_id]

    async def look_until(
        self,
        task_id: str,
        look: Callable[[], Awaitable[Found]],
        ended: Callable[[Found], bool],
        seconds: float | None,
    ) -> Found:
        """Look again at each answer about a task, until what is found says that it has ended.

        Returns what was found last, also when `seconds` have passed.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            # Listen before looking, so that no change can come in between.
            waiting = asyncio.ensure_future(self.wait(task_id, remaining))
            try:
                await asyncio.sleep(0)
                found = await look()
                if ended(found) or remaining == 0:
                    return found
                await waiting
            finally:
                waiting.cancel()

    def answer(self, task_id: str, answer: Answer) -> None:
        """Give the answer to all who wait for this task."""
        for future in self._futures.get(task_id, ()):
            if not future.done():
                future.set_result(answer)

    def answer_all(self, answer: Answer) -> None:
        """Give the answer to everybody."""
        for task_id in list(self._futures):
            self.answer(task_id, answer)
