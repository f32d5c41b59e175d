"""The watchdog over the tracker: what it takes for a frozen one, and what not."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from raytasks.api import watchdog as module
from raytasks.api.watchdog import Watchdog

PATIENCE = 5.0
"""How many seconds a test waits for what is to come."""


class Tracker:
    """Answers pings, or does not."""

    def __init__(self) -> None:
        self.frozen = False
        self.heals = True
        self.failure: Exception | None = None
        self.pings = asyncio.Semaphore(0)
        self.replaced = asyncio.Semaphore(0)
        self.answered = asyncio.Event()

    async def ping(self) -> None:
        self.pings.release()
        if self.failure is not None:
            raise self.failure
        if self.frozen:
            await asyncio.Event().wait()
        self.answered.set()

    async def pinged(self, times: int) -> None:
        """Wait for so many pings more."""
        for _ in range(times):
            await self.pings.acquire()

    async def replace(self) -> None:
        self.frozen = self.frozen and not self.heals
        self.replaced.release()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {
        "PING_SECONDS": 0.001,
        "PATIENCE_SECONDS": 0.02,
        "FIRST_PATIENCE_SECONDS": 0.3,
        "_LAST_CHANCE_SECONDS": 0.02,
    }.items():
        monkeypatch.setattr(module, name, seconds)


@contextmanager
def watched(tracker: Tracker) -> Iterator[None]:
    running = asyncio.ensure_future(Watchdog(tracker.ping, tracker.replace).run())
    yield
    running.cancel()


async def test_a_tracker_that_answers_is_left_alone() -> None:
    tracker = Tracker()
    with watched(tracker):
        async with asyncio.timeout(PATIENCE):
            await tracker.pinged(20)
    assert tracker.replaced.locked()


async def test_one_that_froze_is_replaced_once() -> None:
    tracker = Tracker()
    with watched(tracker):
        async with asyncio.timeout(PATIENCE):
            await tracker.answered.wait()
            tracker.frozen = True
            await tracker.replaced.acquire()
            tracker.answered.clear()
            await tracker.answered.wait()
            await tracker.pinged(10)
    assert tracker.replaced.locked()


async def test_one_that_fails_is_not_frozen() -> None:
    tracker = Tracker()
    tracker.failure = RuntimeError("it is gone")
    with watched(tracker):
        async with asyncio.timeout(PATIENCE):
            await tracker.pinged(20)
    assert tracker.replaced.locked()


async def test_one_that_takes_long_to_start_gets_more_time_after_each_replacement() -> None:
    tracker = Tracker()
    loop = asyncio.get_running_loop()
    with watched(tracker):
        async with asyncio.timeout(PATIENCE):
            await tracker.answered.wait()
            tracker.frozen, tracker.heals = True, False
            times = [loop.time()]
            for _ in range(4):
                await tracker.replaced.acquire()
                times.append(loop.time())
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert waits[3] > 2 * waits[1]
