"""The times of a submission are the tracker's, whatever other clocks show."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from raytasks import handler
from raytasks.api.views import accepted
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.handling.submission import check_submission
from raytasks.model.errors import InvalidSubmission
from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.tasks import Accepted, Duplicate, NewTask
from raytasks.protocol import codec as wire
from raytasks.protocol.queries import TasksById
from raytasks.testing.clock import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, task_id
from tests.tracking import FaultyStore, ScriptedRunner, tracker_on

HOUR = 3600.0
SKEWS = [-HOUR, -0.005, 0.005, 3.0, HOUR]


class Payload(BaseModel):
    pass


@handler("short")
def short(payload: Payload) -> None:
    pass


REGISTRY = Registry([handler_of(short)])


def checked(now: float, **more: Any) -> NewTask:
    return check_submission({"task_type": "short", "payload": {}, **more}, REGISTRY, now=now)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def tracker(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Tracker]:
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
        yield tracker


@pytest.mark.parametrize("skew", SKEWS)
class TestSkews:
    async def test_a_plain_task_is_due_at_once(self, tracker: Tracker, skew: float) -> None:
        runner = ScriptedRunner(tracker)
        answer = await tracker.submit([checked(NOW + skew)])
        [claim] = await asyncio.wait_for(runner.claim(), 10)
        task = (await tracker.read(TasksById([claim.task_id])))[claim.task_id]
        assert (task.created_at, task.run_at, answer.at) == (NOW, NOW, NOW)
        await runner.hang_up()

    async def test_so_is_one_that_still_carries_times(self, tracker: Tracker, skew: float) -> None:
        at = NOW + skew
        await tracker.submit([new_task(1, run_at=at, created_at=at)])
        task = (await tracker.read(TasksById([task_id(1)])))[task_id(1)]
        assert (task.created_at, task.run_at) == (NOW, NOW)

    async def test_a_delay_stays_a_delay(self, tracker: Tracker, skew: float) -> None:
        new = checked(NOW + skew, delay_seconds=90.5)
        await tracker.submit([new])
        task = (await tracker.read(TasksById([new.task_id])))[new.task_id]
        assert (task.created_at, task.run_at) == (NOW, NOW + 90.5)

    async def test_the_answer_shows_what_is_stored(self, tracker: Tracker, skew: float) -> None:
        for options in ({}, {"delay_seconds": 7}, {"run_at": "1970-02-01T00:00:00Z"}):
            new = checked(NOW + skew, **options)
            answer = await tracker.submit([new])
            assert answer.at is not None
            stored = (await tracker.read(TasksById([new.task_id])))[new.task_id]
            assert accepted(new, answer.at) == stored


async def test_a_named_time_stays_as_it_is(tracker: Tracker) -> None:
    new = checked(0.0, run_at="1970-02-01T00:00:00Z")
    await tracker.submit([new])
    task = (await tracker.read(TasksById([new.task_id])))[new.task_id]
    assert task.run_at == new.run_at == 31 * 24 * HOUR


async def test_the_order_of_plain_tasks_is_that_in_which_the_tracker_took_them(
    tracker: Tracker, clock: FakeClock
) -> None:
    """Replicas that are an hour ahead or behind, in turn."""
    ids = []
    for number, skew in enumerate([HOUR, -HOUR, 0.0, HOUR, -HOUR]):
        new = checked(NOW + number + skew)
        ids.append(new.task_id)
        await tracker.submit([new])
        clock.advance(0.001)
    runner = ScriptedRunner(tracker, pool=REMOTE_POOL)
    assert [claim.task_id for claim in await runner.claim()] == ids
    await runner.hang_up()


def test_the_answer_arrives_with_its_time() -> None:
    answer = Accepted({"t1": Duplicate("t0", same=True)})
    answer.at = NOW
    arrived = wire.duplicates_of(wire.encode_accepted(answer))
    assert (arrived, arrived.at) == (answer, NOW)


def test_the_answer_of_an_older_tracker_says_no_time() -> None:
    arrived = wire.duplicates_of(wire.encode({"t1": Duplicate("t0", same=True)}))
    assert (arrived, arrived.at) == ({"t1": Duplicate("t0", same=True)}, None)


WISHES = [
    {"run_at": 1798761600},
    {"run_at": 1798761600000.0},
    {"run_at": "1798761600"},
    {"run_at": True},
    {"delay_seconds": True},
    {"delay_seconds": False},
    {"priority": True},
    {"max_attempts": True},
    {"timeout_seconds": True},
]


@pytest.mark.parametrize("wish", WISHES, ids=str)
def test_what_would_have_to_be_guessed_is_refused(wish: dict[str, Any]) -> None:
    with pytest.raises(InvalidSubmission) as refused:
        checked(NOW, **wish)
    assert [error.pointer for error in refused.value.errors] == [f"/{next(iter(wish))}"]


@pytest.mark.parametrize("step", [-HOUR, HOUR])
async def test_the_order_stays_when_the_trackers_clock_is_set(
    sqlite_url: str, clock: FakeClock, step: float
) -> None:
    passed = FakeClock(0.0)
    async with tracker_on(FaultyStore(sqlite_url), clock=clock, monotonic=passed) as tracker:
        ids = []
        for number in range(6):
            if number == 3:
                clock.advance(step)
            new = checked(NOW)
            ids.append(new.task_id)
            await tracker.submit([new])
            clock.advance(0.01)
            passed.advance(0.01)
        runner = ScriptedRunner(tracker, pool=REMOTE_POOL)
        assert [claim.task_id for claim in await runner.claim()] == ids
        await runner.hang_up()


async def test_what_comes_in_together_keeps_its_order(tracker: Tracker) -> None:
    """Ids are made by the clocks of replicas; they order nothing."""
    numbers = [5, 1, 4, 2, 3]
    await asyncio.gather(*[tracker.submit([new_task(number)]) for number in numbers])
    runner = ScriptedRunner(tracker, pool=REMOTE_POOL)
    assert [claim.task_id for claim in await runner.claim()] == [
        task_id(number) for number in numbers
    ]
    await runner.hang_up()
