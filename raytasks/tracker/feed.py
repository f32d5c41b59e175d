"""The event feed: rings of numbered changes, for replicas that follow it."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable
from itertools import takewhile
from typing import Generic, TypeVar

from msgspec.structs import replace

from raytasks.model.states import FINAL
from raytasks.protocol.messages import Feed, FeedPart, StateChange

Item = TypeVar("Item")


class FeedRing:
    """The newest `size` changes of state, ends among them, and the tasks that have other news.

    `epoch` tells the feed of one tracker from the next. All parts share one numbering.
    """

    def __init__(self, epoch: int, *, size: int = 20_000) -> None:
        self._epoch = epoch
        self._last = 0
        self._changes: _Ring[StateChange] = _Ring(size)
        self._ends: _Ring[str] = _Ring(size)
        self._told = _Latest(size)
        self._wakes = {part: asyncio.Event() for part in FeedPart}

    def publish(self, changes: Iterable[StateChange]) -> None:
        """Add changes, and number them. Wakes the callers that wait for them."""
        number = self._last
        ended = False
        for change in changes:
            number += 1
            self._changes.add(number, change)
            if change.state in FINAL:
                self._ends.add(number, change.task_id)
                ended = True
        if number == self._last:
            return
        self._last = number
        self._wake(FeedPart.CHANGES, FeedPart.NEWS)
        if ended:
            self._wake(FeedPart.ENDS)

    def notify(self, task_ids: Iterable[str]) -> None:
        """Add tasks whose news are no change of state. Wakes the callers that wait for news."""
        self._last += 1
        self._told.add(self._last, task_ids)
        self._wake(FeedPart.NEWS)

    def break_off(self) -> None:
        """Break the feed, as events may be missing: every follower gets a gap."""
        self._last += 1
        for ring in (self._changes, self._ends, self._told):
            ring.break_off(self._last)
        self._wake(*FeedPart)

    def since(self, epoch: int, after: int, part: FeedPart = FeedPart.CHANGES) -> Feed:
        """Return the events of a part after number `after`, at once."""
        if epoch != self._epoch or after > self._last:
            return Feed(self._epoch, self._last, gap=True)
        match part:
            case FeedPart.CHANGES:
                changes = [
                    replace(change, number=number) for number, change in self._changes.since(after)
                ]
                gap = after < self._changes.lost
                return Feed(self._epoch, self._last, tuple(changes), gap)
            case FeedPart.NEWS:
                changed = [change.task_id for _, change in self._changes.since(after)]
                gap = after < max(self._changes.lost, self._told.lost)
                news = tuple({*changed, *self._told.since(after)})
                return Feed(self._epoch, self._last, gap=gap, news=news)
            case FeedPart.ENDS:
                ends = tuple([task_id for _, task_id in self._ends.since(after)])
                return Feed(self._epoch, self._last, gap=after < self._ends.lost, ends=ends)

    async def wait(
        self, epoch: int, after: int, seconds: float, part: FeedPart = FeedPart.CHANGES
    ) -> Feed:
        """Return the events of a part after `after` as soon as there is one, or after `seconds`."""
        if epoch == self._epoch and self._newest(part) <= after <= self._last:
            news = self._wakes[part]
            news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await news.wait()
        return self.since(epoch, after, part)

    def _wake(self, *parts: FeedPart) -> None:
        for part in parts:
            self._wakes[part].set()

    def _newest(self, part: FeedPart) -> int:
        match part:
            case FeedPart.CHANGES:
                return self._changes.newest
            case FeedPart.NEWS:
                return self._last
            case FeedPart.ENDS:
                return self._ends.newest


class _Ring(Generic[Item]):
    """The newest `size` numbered items. `lost` is the number of the last one dropped."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: deque[tuple[int, Item]] = deque()
        self.newest = 0
        self.lost = 0

    def add(self, number: int, item: Item) -> None:
        self._items.append((number, item))
        self.newest = number
        if len(self._items) > self._size:
            self.lost = self._items.popleft()[0]

    def since(self, after: int) -> list[tuple[int, Item]]:
        if self.newest <= after:
            return []
        recent = list(takewhile(lambda item: item[0] > after, reversed(self._items)))
        recent.reverse()
        return recent

    def break_off(self, number: int) -> None:
        self._items.clear()
        self.newest = self.lost = number


class _Latest:
    """The number of the newest news of each of `size` tasks. `lost` is the last number dropped."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._numbers: dict[str, int] = {}  # the oldest first
        self.lost = 0

    def add(self, number: int, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            self._numbers.pop(task_id, None)
            self._numbers[task_id] = number
        while len(self._numbers) > self._size:
            self.lost = self._numbers.pop(next(iter(self._numbers)))

    def since(self, after: int) -> list[str]:
        told = takewhile(lambda item: item[1] > after, reversed(self._numbers.items()))
        return [task_id for task_id, _ in told]

    def break_off(self, number: int) -> None:
        self._numbers.clear()
        self.lost = number
