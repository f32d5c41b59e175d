"""The watchdog over the tracker: what it takes for a frozen one, and what not."""

import asyncio
import itertools
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from raytasks.api import watchdog as module
from raytasks.api.watchdog import Watchdog

PATIENCE = 5.0
"""How many seconds a test waits for what is to come."""

LEASE = 0.05


class Tracker:
    """Answers pings, or does not, and renews its epoch, or does not."""

    def __init__(self) -> None:
        self.frozen = False
        self.heals = True
        self.failure: Exception | None = None
        self.renews = False
        self.readable = True
        self.life = 0
        self.pings = asyncio.Semaphore(0)
        self.looks = asyncio.Semaphore(0)
        self.replaced = asyncio.Semaphore(0)
        self.answered = asyncio.Event()
        self._epochs = itertools.count()
        self._epoch = 0

    async def ping(self) -> None:
        self.pings.release()
        if self.failure is not None:
            raise self.failure
        if self.frozen:
            await asyncio.Event().wait()
        self.answered.set()

    async def epoch(self) -> object:
        self.looks.release()
        if not self.readable:
            raise OSError("the database is away")
        if self.renews:
            self._epoch = next(self._epochs)
        return ("owner", self._epoch)

    async def get_life(self) -> object:
        return self.life

    async def pinged(self, times: int) -> None:
        """Wait for so many pings more."""
        for _ in range(times):
            await self.pings.acquire()

    async def looked_at(self, times: int) -> None:
        """Wait until its epoch was looked at so often."""
        for _ in range(times):
            await self.looks.acquire()

    async def replace(self) -> None:
        self.frozen = self.frozen and not self.heals
        self.life += 1
        self.replaced.release()


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {
        "PING_SECONDS": 0.001,
        "PATIENCE_SECONDS": 0.02,
        "FIRST_PATIENCE_SECONDS": 0.3,
        "LOOK_SECONDS": 0.001,
        "SPREAD_SECONDS": 0.05,
        "_LAST_CHANCE_SECONDS": 0.01,
    }.items():
        monkeypatch.setattr(module, name, seconds)


@contextmanager
def watched(tracker: Tracker, *, number: int = 1, **signs: Any) -> Iterator[None]:
    signs = {"epoch": tracker.epoch, "life": tracker.get_life, "lease_seconds": LEASE, **signs}
    running = [
        asyncio.ensure_future(
            Watchdog(
                tracker.ping, tracker.replace, **signs, chance=partial(operator.truediv, i, number)
            ).run()
        )
        for i in range(number)
    ]
    yield
    for task in running:
        task.cancel()


async def frozen_now(tracker: Tracker) -> None:
    """Freeze it, once it has answered."""
    await tracker.answered.wait()
    tracker.frozen = True


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


async def test_one_that_renews_its_epoch_is_left_alone_though_it_cannot_be_reached() -> None:
    tracker = Tracker()
    tracker.renews = True
    with watched(tracker):
        async with asyncio.timeout(PATIENCE):
            await frozen_now(tracker)
            await tracker.looked_at(30)
    assert tracker.replaced.locked()


async def test_while_the_database_cannot_be_read_nobody_is_replaced() -> None:
    tracker = Tracker()
    tracker.readable = False
    with watched(tracker):
        async with asyncio.timeout(PATIENCE):
            await frozen_now(tracker)
            await tracker.looked_at(30)
            assert tracker.replaced.locked()
            tracker.readable = True
            await tracker.replaced.acquire()


async def test_without_a_way_to_the_epoch_nobody_is_replaced() -> None:
    tracker = Tracker()
    with watched(tracker, epoch=None):
        async with asyncio.timeout(PATIENCE):
            await frozen_now(tracker)
            await tracker.pinged(20)
    assert tracker.replaced.locked()


async def test_one_whose_epoch_stands_still_and_that_answers_is_left_alone() -> None:
    tracker = Tracker()  # its database refuses to write
    with watched(tracker):
        async with asyncio.timeout(PATIENCE):
            for _ in range(3):
                await frozen_now(tracker)
                await tracker.looked_at(2)
                tracker.answered.clear()
                tracker.frozen = False
                await tracker.answered.wait()
                await asyncio.sleep(LEASE)
    assert tracker.replaced.locked()


async def test_two_watchdogs_replace_it_once() -> None:
    tracker = Tracker()
    with watched(tracker, number=2):
        async with asyncio.timeout(PATIENCE):
            await frozen_now(tracker)
            tracker.heals = False  # the new process takes long to start
            await tracker.replaced.acquire()
            await tracker.pinged(8)
            tracker.frozen = False
            tracker.answered.clear()
            await tracker.answered.wait()
            await tracker.pinged(10)
    assert tracker.replaced.locked()


async def test_one_that_takes_long_to_start_gets_more_time() -> None:
    tracker = Tracker()
    loop = asyncio.get_running_loop()
    with watched(tracker):
        async with asyncio.timeout(PATIENCE):
            await frozen_now(tracker)
            tracker.heals = False
            await tracker.replaced.acquire()
            began = loop.time()
            await tracker.replaced.acquire()
    assert loop.time() - began >= module.FIRST_PATIENCE_SECONDS
