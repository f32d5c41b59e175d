"""The oldest due time of each type: read seldom, and known while the database is away."""

from collections.abc import Sequence

import pytest

from raytasks.model.lane_names import lane_of
from raytasks.store.lane_rows import LaneAsk
from raytasks.testing import FakeClock
from raytasks.tracker import oldest_due
from raytasks.tracker.core import Tracker
from raytasks.tracker.oldest_due import KEPT_SECONDS
from tests.making import new_task
from tests.tracking import FaultyStore, ScriptedRunner


async def test_it_grows_between_two_readings(
    tracker: Tracker, clock: FakeClock, store: FaultyStore
) -> None:
    oldest = tracker.oldest_due
    assert await oldest.seconds() == {}
    now = clock()
    await tracker.submit([new_task(1, run_at=now)])
    await tracker.submit([new_task(2, task_type="later", run_at=now + 60)])
    clock.advance(2.0)
    assert await oldest.seconds() == {}  # what was read is used again
    clock.advance(KEPT_SECONDS)
    assert await oldest.seconds() == {"short": 2 + KEPT_SECONDS}
    clock.advance(2.0)
    assert await oldest.seconds() == {"short": 4 + KEPT_SECONDS}
    assert await oldest.due_times() == {"short": now}


async def test_a_type_that_no_longer_waits_is_left_out(tracker: Tracker, clock: FakeClock) -> None:
    await tracker.submit([new_task(1, run_at=clock())])
    clock.advance(30.0)
    assert await tracker.oldest_due.seconds() == {"short": 30.0}
    assert await ScriptedRunner(tracker).claim()
    assert await tracker.oldest_due.seconds() == {}


async def test_without_the_database_what_is_known_stays(
    tracker: Tracker, clock: FakeClock, store: FaultyStore
) -> None:
    await tracker.submit([new_task(1, run_at=clock())])
    clock.advance(30.0)
    assert await tracker.oldest_due.seconds() == {"short": 30.0}
    store.away = True
    clock.advance(KEPT_SECONDS)
    assert await tracker.oldest_due.seconds() == {"short": 30 + KEPT_SECONDS}


async def test_of_many_lanes_those_with_the_best_ranks_are_looked_at(
    tracker: Tracker, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oldest_due, "FIRST_TASKS", 6)
    asked = []
    store = tracker.ticker.store
    read = store.oldest_due

    def noted(lanes: Sequence[LaneAsk]) -> dict[str, float]:
        asked.append(lanes)
        return read(lanes)

    monkeypatch.setattr(store, "oldest_due", noted)
    for number in range(40):
        values = f'{{"customer":{number % 20}}}'
        lane = lane_of("default", values)
        await tracker.submit([new_task(number, run_at=clock(), lane=lane, limit_values=values)])
        clock.advance(1.0)
    assert await tracker.oldest_due.seconds() == {"short": 40.0}
    [lanes] = asked
    assert (len(lanes), {ask.limit for ask in lanes}) == (6, {1})
    clock.advance(KEPT_SECONDS)
    monkeypatch.setattr(oldest_due, "FIRST_TASKS", 50)
    assert await tracker.oldest_due.seconds() == {"short": 40 + KEPT_SECONDS}
    assert (len(asked[1]), {ask.limit for ask in asked[1]}) == (20, {2})
