"""Bulk operations in the tracker: between its ticks, through restarts and trouble."""

import asyncio
import itertools
import math
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text

from raytasks.model.bulk_operations import BulkOperation, NewBulk
from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.commands import StartBulk
from raytasks.protocol.messages import Claim
from raytasks.protocol.queries import BulkById, TasksById
from raytasks.testing import FakeClock
from raytasks.tracker import bulk_turns as bulk
from raytasks.tracker.bulk_turns import TICKS_FIRST, BulkTurns
from raytasks.tracker.core import Tracker
from raytasks.tracker.deleted_tasks import KEEP_SECONDS
from tests.making import NOW, bulk_filter, counted, ids, new_task, task_id
from tests.tracking import PATIENCE, FaultyStore, ScriptedRunner, let_run, tracker_on, until

EVERY = 100_000
PACE_SECONDS = 30.0  # far more than it takes


def bulk_id(number: int = 1) -> str:
    return f"0198ffff-0000-7000-8000-{number:012x}"


async def start(
    tracker: Tracker, action: str = "retry", *, number: int = 1, **asked: Any
) -> BulkOperation:
    meant = bulk_filter(action, **asked)
    return (await tracker.execute(StartBulk(NewBulk(bulk_id(number), meant, time.time()))))[0]


async def done(tracker: Tracker, number: int = 1) -> BulkOperation:
    """Wait until an operation is done."""
    async with asyncio.timeout(PACE_SECONDS):
        while True:
            found = await tracker.read(BulkById(bulk_id(number), "default"))
            if found is not None and found.finished_at is not None:
                return found
            await asyncio.sleep(0.01)


async def failed(tracker: Tracker, runner: ScriptedRunner, *numbers: int) -> None:
    """Submit tasks, and let them fail."""
    await tracker.submit([new_task(number, max_attempts=1) for number in numbers])
    left = set(ids(numbers))
    while left:
        for claim in await runner.claim():
            runner.end(claim, OutcomeKind.FAILED)
            left.discard(claim.task_id)
    for number in numbers:
        await until(tracker, number, State.FAILED)


@pytest.fixture
async def tracker(store_url: str, clock: FakeClock) -> AsyncIterator[Tracker]:
    """A tracker on a database of each kind."""
    async with tracker_on(FaultyStore(store_url), clock=clock) as tracker:
        yield tracker


@pytest.fixture
def runner(tracker: Tracker) -> ScriptedRunner:
    return ScriptedRunner(tracker, pool=REMOTE_POOL)


async def test_what_is_retried_is_told_counted_and_handed_out(
    tracker: Tracker, runner: ScriptedRunner
) -> None:
    await failed(tracker, runner, 1, 2)
    before = (await tracker.changes(tracker.ticker.epoch, 0, 0.0)).last
    call = runner.send()
    assert (await start(tracker, state=State.FAILED)).matched == 2
    claims = {claim.task_id for claim in (await call).claims}
    while claims != set(ids([1, 2])):
        claims |= {claim.task_id for claim in await runner.claim()}
    found = await done(tracker)
    assert (found.looked_at, found.changed) == (2, 2)
    assert tracker.backlog == 0
    feed = await tracker.changes(tracker.ticker.epoch, before, 0.0)
    told = [(item.task_id, item.state, item.revision) for item in feed.changes]
    assert told[:2] == [(task_id(2), State.PENDING, 3), (task_id(1), State.PENDING, 3)]
    assert sorted(told[2:]) == [(name, State.RUNNING, 4) for name in ids([1, 2])]


async def test_the_runners_are_told_to_stop_what_is_cancelled(
    tracker: Tracker, runner: ScriptedRunner
) -> None:
    await tracker.submit([new_task(1)])
    [claim] = await runner.claim()
    call = runner.send()
    await let_run()
    await tracker.submit([new_task(2, task_type="other")])
    await start(tracker, "cancel")
    assert list((await call).cancels) == [(task_id(1), 1)]
    assert (await done(tracker)).changed == 2
    runner.end(claim, OutcomeKind.CANCELLED)
    await until(tracker, 1, State.CANCELLED)
    assert tracker.backlog == 0


async def test_without_the_databases_answer_it_is_begun_all_the_same(
    tracker: Tracker, runner: ScriptedRunner
) -> None:
    await failed(tracker, runner, 1)
    store = tracker.ticker.store
    assert isinstance(store, FaultyStore)
    while tracker.ticker.ledger.stats.write_due < math.inf:  # that tick is not meant
        await tracker.ticker.access.read(lambda: None)
    store.answer_is_lost = True
    with pytest.raises(StoreUnavailable):
        await start(tracker)
    assert (await done(tracker)).changed == 1


async def test_a_step_without_an_answer_is_not_done_twice(
    tracker: Tracker, runner: ScriptedRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "STEP", 1)
    await failed(tracker, runner, 1, 2, 3)
    store = tracker.ticker.store
    assert isinstance(store, FaultyStore)
    step = bulk.run_step

    def lose_the_answer(*arguments: Any) -> Any:
        monkeypatch.setattr("raytasks.tracker.background.run_step", step)
        store.answer_is_lost = True
        return step(*arguments)

    monkeypatch.setattr("raytasks.tracker.background.run_step", lose_the_answer)
    await start(tracker)
    found = await done(tracker)
    assert (found.looked_at, found.changed) == (3, 3)
    tasks = await tracker.read(TasksById(ids([1, 2, 3])))
    assert {task.revision for task in tasks.values()} == {3}
    assert tracker.backlog == 3


async def test_a_step_that_fails_is_not_tried_again_at_once(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []

    def fail(*_: Any) -> Any:
        tries.append(1)
        raise ArithmeticError("for no known reason")

    monkeypatch.setattr(bulk, "_PAUSE_SECONDS", 1000.0)
    monkeypatch.setattr("raytasks.tracker.background.run_step", fail)
    await start(tracker)
    for number in range(10):
        await tracker.submit([new_task(number)])
    assert tries == [1]


async def test_after_a_restart_it_goes_on(
    store_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = bulk.run_step
    monkeypatch.setattr("raytasks.tracker.background.run_step", lambda *_: 1 / 0)
    async with tracker_on(FaultyStore(store_url), clock=clock) as tracker:
        await failed(tracker, ScriptedRunner(tracker, pool=REMOTE_POOL), 1)
        await start(tracker)
        await tracker.submit([new_task(2)])
    monkeypatch.setattr("raytasks.tracker.background.run_step", step)
    async with tracker_on(FaultyStore(store_url), clock=clock) as tracker:
        assert (await done(tracker)).changed == 1


async def test_a_step_that_fails_is_tried_again_and_holds_up_nothing(
    tracker: Tracker, runner: ScriptedRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = bulk.run_step
    tries = itertools.count()

    def fail(*arguments: Any) -> Any:
        if next(tries) < 2:
            raise ArithmeticError("for no known reason")
        return step(*arguments)

    monkeypatch.setattr(bulk, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr("raytasks.tracker.background.run_step", fail)
    await failed(tracker, runner, 1)
    await start(tracker)
    async with asyncio.timeout(PATIENCE):
        while next(tries) < 5:
            await tracker.submit([new_task(10 + next(tries), task_type="other")])
            await asyncio.sleep(0.02)
    assert (await done(tracker)).changed == 1


class TestTurns:
    def test_without_operations_there_are_none(self) -> None:
        assert not BulkTurns().is_due(idle=True)

    def test_ticks_go_first_but_not_for_ever(self) -> None:
        turns = BulkTurns()
        turns.look()
        assert [turns.is_due(idle=False) for _ in range(TICKS_FIRST + 1)] == [
            *[False] * TICKS_FIRST,
            True,
        ]
        turns.done(None)
        assert not turns.is_due(idle=True)

    def test_after_a_failure_there_is_a_pause(self) -> None:
        clock = FakeClock(NOW)
        turns = BulkTurns(clock)
        turns.look()
        assert turns.is_due(idle=True)
        turns.failed()
        assert not turns.any
        clock.advance(5.0)
        assert turns.any


def insert_failed(store: FaultyStore) -> None:
    with store._database.writing() as connection:
        connection.execute(
            text(
                "INSERT INTO tasks (task_id, task_type, state, payload, priority, rank, ready,"
                " attempt, max_attempts, failures, crashes, cancel_requested, created_at, run_at,"
                " updated_at, finished_at, revision) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL"
                " SELECT i + 1 FROM n WHERE i < :every)"
                " SELECT printf('0198c1de-0000-7000-8000-%012x', i), 'short', 'FAILED', '{}', 0, i,"
                " 0, 1, 3, 1, 0, 0, i, i, i, i, 2 FROM n"
            ),
            {"every": EVERY},
        )
        connection.execute(
            text("INSERT INTO task_counts VALUES ('default', 'short', 'FAILED', :every)"),
            {"every": EVERY},
        )


class TestMany:
    """A hundred thousand FAILED tasks."""

    async def work_along(self, tracker: Tracker, start: int, until_looked_at: int) -> int:
        """Submit tasks and run them, one by one, until the operation has come so far."""
        runner = ScriptedRunner(tracker, f"r{start}", pool=REMOTE_POOL, other=5)
        for number in itertools.count(start):
            await tracker.submit([new_task(number, task_type="other", run_at=0.0)])
            [claim] = await runner.claim()
            assert isinstance(claim, Claim)
            runner.end(claim)
            await until(tracker, number, State.COMPLETED)
            found = await tracker.read(BulkById(bulk_id(), "default"))
            assert found is not None
            if found.looked_at >= until_looked_at or found.finished_at is not None:
                return number - start + 1
            await asyncio.sleep(0.05)  # else it is all waiting for this
        raise AssertionError

    async def test_they_are_retried_each_once_while_the_service_goes_on(
        self, sqlite_url: str
    ) -> None:
        store = FaultyStore(sqlite_url)
        insert_failed(store)
        began = time.perf_counter()
        async with tracker_on(store) as tracker:
            assert (await start(tracker, state=State.FAILED)).matched == EVERY
            served = await self.work_along(tracker, 200_000, EVERY // 2)
        store = FaultyStore(sqlite_url)
        async with tracker_on(store) as tracker:
            found = await tracker.read(BulkById(bulk_id(), "default"))
            assert found is not None
            assert EVERY // 2 <= found.changed < EVERY
            served += await self.work_along(tracker, 300_000, EVERY)
            found = await done(tracker)
            seconds = time.perf_counter() - began
            print(f"\n{EVERY / seconds:.0f} tasks retried per second, {served} served meanwhile")
            assert (found.looked_at, found.changed) == (EVERY, EVERY)
            assert tracker.backlog == EVERY
            with store._database.reading() as connection:
                rows = connection.execute(
                    text(
                        "SELECT task_type, state, revision, count(*) FROM tasks"
                        " GROUP BY task_type, state, revision"
                    )
                ).all()
            assert sorted(map(tuple, rows)) == [
                ("other", "COMPLETED", 2, served),
                ("short", "PENDING", 3, EVERY),
            ]
            assert counted(store.counts()) == {
                ("other", State.COMPLETED): served,
                ("short", State.PENDING): EVERY,
            }
            assert served > 20


async def test_a_late_copy_does_not_make_again_what_was_deleted(
    tracker: Tracker, clock: FakeClock
) -> None:
    await failed(tracker, ScriptedRunner(tracker), 1, 2)
    await start(tracker, "delete")
    assert (await done(tracker)).changed == 2
    await tracker.submit([new_task(1), new_task(3)])
    found = await tracker.read(TasksById(ids((1, 2, 3))))
    assert set(found) == {task_id(3)}
    clock.advance(KEEP_SECONDS + 1)
    await tracker.submit([new_task(2)])
    assert await tracker.read(TasksById(ids((2,))))
