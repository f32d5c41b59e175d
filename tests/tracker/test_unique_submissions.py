"""Unique keys and expiry in a running tracker: clients, crashes, the clock."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, select

from raytasks.model.states import State
from raytasks.model.tasks import NewTask, StoreUnavailable, UniqueConflict
from raytasks.model.uniqueness import Unique, decode_unique, encode_unique
from raytasks.protocol.commands import CancelTask, RetryTask
from raytasks.protocol.messages import Outcome
from raytasks.protocol.queries import TasksById
from raytasks.store.schema import tasks, unique_keys
from raytasks.store.store import Store
from raytasks.store.transaction import Transaction
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, outcome, task_id
from tests.tracking import FaultyStore, ScriptedRunner, tracker_on, until

OpenStore = Callable[..., Store]

CLIENTS = 64
KEYS = 1000


def keyed(number: int, key: str = "k") -> NewTask:
    return new_task(number, unique_spec=encode_unique(Unique(key)))


async def test_a_retry_is_refused_with_the_holders_id(tracker: Tracker) -> None:
    await tracker.submit([keyed(1)])
    await tracker.execute(CancelTask(task_id(1)))
    await tracker.submit([keyed(2)])
    with pytest.raises(UniqueConflict, match=task_id(2)) as refused:
        await tracker.execute(RetryTask(task_id(1)))
    assert refused.value.task_id == task_id(2)
    await tracker.execute(CancelTask(task_id(2)))
    assert (await tracker.execute(RetryTask(task_id(1)))).state is State.PENDING


async def test_a_full_backlog_answers_with_the_holder(
    faulty_store: FaultyStore, clock: FakeClock
) -> None:
    async with tracker_on(faulty_store, clock=clock, max_backlog=1) as tracker:
        await tracker.submit([keyed(1)])
        assert (await tracker.submit([keyed(2)]))[task_id(2)].task_id == task_id(1)


class TestExpiry:
    async def test_comes_by_itself_when_its_time_has_come(
        self, tracker: Tracker, clock: FakeClock
    ) -> None:
        await tracker.submit([new_task(1, expires_seconds=0.0)])
        assert (await until(tracker, 1, State.CANCELLED)).expires_at == NOW
        assert tracker.ticker.ledger.next_expiry is None

    async def test_is_known_to_the_next_tracker(self, store_url: str, clock: FakeClock) -> None:
        store = Store(store_url)
        async with tracker_on(store, clock=clock) as tracker:
            await tracker.submit([new_task(1, expires_seconds=60.0)])
        clock.now += 60.0
        async with tracker_on(Store(store_url), clock=clock) as tracker:
            task = await until(tracker, 1, State.CANCELLED)
            assert task.finished_at == NOW + 60.0

    async def test_no_runner_gets_what_has_expired(
        self, tracker: Tracker, clock: FakeClock
    ) -> None:
        await tracker.submit([new_task(1, expires_seconds=60.0), new_task(2)])
        clock.now += 60.0
        runner = ScriptedRunner(tracker)
        assert [claim.task_id for claim in await runner.claim()] == [task_id(2)]
        assert (await tracker.read(TasksById([task_id(1)])))[task_id(1)].state is State.CANCELLED


class Mortal(Store):
    """A store whose tracker dies after some ticks. It looks at the keys before each commit."""

    def __init__(self, url: str, *, ticks: int, dies_after_commit: bool) -> None:
        super().__init__(url)
        self.ticks = ticks
        self.dies_after_commit = dies_after_commit
        self.died = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    @contextmanager
    def transaction(self, *, now: float) -> Iterator[Transaction]:
        with super().transaction(now=now) as transaction:
            yield transaction
            check_keys(transaction.connection)
            self.ticks -= 1
            if self.ticks <= 0 and not self.dies_after_commit:
                self.die()
        if self.ticks <= 0:
            self.die()

    def die(self) -> None:
        """The tracker gets no further, and its successor comes."""
        self._loop.call_soon_threadsafe(self.died.set)
        raise StoreUnavailable("the tracker was killed")


def check_keys(connection: Connection) -> None:
    """Check that each key has one open task, which holds it."""
    open_ones = connection.execute(
        select(tasks.c.unique_spec, tasks.c.task_id).where(
            tasks.c.finished_at.is_(None), tasks.c.unique_spec.is_not(None)
        )
    )
    owners = Counter(decode_unique(row.unique_spec).key for row in open_ones)
    assert not owners or max(owners.values()) == 1, owners.most_common(3)
    held = connection.execute(select(unique_keys.c.unique_key)).scalars()
    assert sorted(held) == sorted(owners)


@pytest.mark.parametrize("dies_after_commit", [False, True], ids=["before", "after"])
async def test_one_open_task_a_key_whatever_dies(
    store_url: str, clock: FakeClock, open_store: OpenStore, dies_after_commit: bool
) -> None:
    """64 clients submit tasks of 1,000 keys, a runner ends them, and the tracker is killed."""
    chance, numbers = random.Random(7), count(1)
    stored: set[str] = set()
    present: asyncio.Future[Tracker] = asyncio.get_running_loop().create_future()

    async def client() -> None:
        for key in chance.choices(range(KEYS), k=40):
            new = keyed(next(numbers), f"key {key}")
            while True:
                try:
                    answer = await (await asyncio.shield(present)).submit([new])
                except StoreUnavailable:  # nobody knows whether it is stored
                    await asyncio.sleep(0)
                else:
                    break
            if new.task_id not in answer:
                stored.add(new.task_id)

    async def work(tracker: Tracker, life: int) -> None:
        runner = ScriptedRunner(tracker, f"r{life}", capacity=32, short=32)
        outcomes: list[Outcome] = []
        while True:
            outcomes = [outcome(claim) for claim in await runner.claim(outcomes)]

    clients: asyncio.Future[list[None]] = asyncio.gather(*(client() for _ in range(CLIENTS)))
    lives = 0
    while not clients.done():
        store = Mortal(store_url, ticks=8, dies_after_commit=dies_after_commit)
        async with tracker_on(store, clock=clock) as tracker:
            tracker.mark_lost(f"r{lives}", "it died with its tracker")
            lives += 1
            worker = asyncio.ensure_future(work(tracker, lives))
            present.set_result(tracker)
            death = asyncio.ensure_future(store.died.wait())
            ends: list[asyncio.Future[Any]] = [clients, death]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            present = asyncio.get_running_loop().create_future()
            worker.cancel()
            death.cancel()
    await clients
    assert lives > 4
    with open_store(store_url)._database.reading() as connection:
        check_keys(connection)
        assert set(connection.execute(select(tasks.c.task_id)).scalars()) == stored
    assert len(stored) > KEYS / 2
