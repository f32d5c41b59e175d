"""The tracker's clocks: the wall clock may be set while durations go on as they were."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from raytasks.model.states import State
from raytasks.protocol.queries import TasksById
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, task_id
from tests.tracking import LEASE, PATIENCE, FaultyStore, ScriptedRunner, let_run, tracker_on, until

HOUR = 3600.0


async def look(tracker: Tracker) -> None:
    """Let the tracker look for leases that have ended."""
    tracker.ticker.looked_at = before = -1.0
    async with asyncio.timeout(PATIENCE):
        while tracker.ticker.looked_at == before:
            tracker.ticker.wake.set()
            await asyncio.sleep(0)


@pytest.mark.parametrize("step", [-2 * HOUR, 2 * HOUR])
async def test_a_wall_clock_that_is_set_ends_no_lease_and_no_lease_outlives_it(
    store: FaultyStore, clock: FakeClock, step: float
) -> None:
    passed = FakeClock(0.0)
    async with tracker_on(store, clock=clock, monotonic=passed, max_crashes=3) as tracker:
        runner = ScriptedRunner(tracker)
        await tracker.submit([new_task(1)])
        await runner.claim()
        clock.advance(step)
        await look(tracker)
        assert set(tracker.fleet.running) == {task_id(1)}
        passed.advance(LEASE * 1.1)
        tracker.ticker.looked_at = passed()  # it has run all the while
        tracker.ticker.wake.set()
        await until(tracker, 1, State.RETRYING)


async def test_the_epoch_is_renewed_though_the_wall_clock_stands_still(store: FaultyStore) -> None:
    passed = FakeClock(0.0)
    async with tracker_on(store, clock=FakeClock(NOW), monotonic=passed) as tracker:
        await tracker.submit([new_task(1)])
        loop, renewed = asyncio.get_running_loop(), asyncio.Event()
        store.before_commit = lambda: loop.call_soon_threadsafe(renewed.set)
        passed.advance(LEASE / 2)
        tracker.ticker.wake.set()
        await asyncio.wait_for(renewed.wait(), PATIENCE)


async def test_waiting_for_the_end_of_all_attempts_takes_no_longer_for_it(
    store: FaultyStore, clock: FakeClock
) -> None:
    passed = FakeClock(0.0)
    async with tracker_on(store, clock=clock, monotonic=passed) as tracker:
        runner = ScriptedRunner(tracker)
        await tracker.submit([new_task(1)])
        await runner.claim()
        waiting = asyncio.ensure_future(tracker.wait_until_idle(60.0))
        await let_run()
        clock.advance(-HOUR)
        passed.advance(61.0)
        tracker.ticker.ledger.feed.break_off()  # it looks again
        await asyncio.wait_for(waiting, PATIENCE)


class Inline(Executor):
    """The executor of a simulation: a call is over when it has been made."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except BaseException as error:
            done.set_exception(error)
        return done


async def test_calls_of_the_store_can_run_within_the_loop(store: FaultyStore) -> None:
    made: list[tuple[int, str]] = []

    def executors(number: int, name: str) -> Executor:
        made.append((number, name))
        return Inline()

    async with tracker_on(store, executors=executors) as tracker:
        await tracker.submit([new_task(1)])
        assert (await tracker.read(TasksById([task_id(1)])))[task_id(1)].state is State.PENDING
    assert made == [(1, "store-writer"), (2, "store-reader")]
