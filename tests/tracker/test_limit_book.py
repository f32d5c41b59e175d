"""Rates: buckets over time, what is given back, closed ones, and what happens without a name."""

import pytest

from raytasks.model.controls import Limit
from raytasks.model.states import OutcomeKind
from raytasks.model.steering import LimitSetting, Steering
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from raytasks.tracker.sharing import CapacityRequest
from tests.tracker.claim_world import NOW, ClaimWorld, info
from tests.tracking import LEASE, FaultyStore


def request(capacity: int = 100) -> CapacityRequest:
    """Return what a runner with many free slots asks for."""
    return CapacityRequest("r1", {"a": capacity}, capacity, None, empty=False)


def world_with(limit: Limit, tasks: int = 300, key: str | None = None) -> ClaimWorld:
    """Return a world with tasks of one limit."""
    world = ClaimWorld()
    world.declare(info("a", limit))
    for _ in range(tasks):
        world.add("a", key)
    return world


def test_a_bucket_is_empty_at_the_start_and_fills_to_its_burst() -> None:
    world = world_with(Limit("rate", rate=10.0, burst=3))
    assert not world.tick(request())
    assert not world.lanes.open_work(["a"]), "what waits for a token sizes no pool"
    world.now = 0.2
    assert len(world.tick(request())) == 2
    world.now = 60.0
    assert len(world.tick(request())) == 3


@pytest.mark.parametrize("key", [None, "k"])
def test_the_rate_is_used_and_the_time_of_the_next_token_is_known(key: str | None) -> None:
    by = None if key is None else "/key"
    world = world_with(Limit("rate", rate=500.0, per_seconds=10.0, burst=10, by=by), key=key)
    begun = looks = 0
    world.tick(request())
    while world.now < 5.0:
        world.now = max(world.now, world.book.limits.next_time)
        begun += len(world.tick(request()))
        looks += 1
    assert begun >= 0.97 * 50 * 5
    assert looks < 300, "tokens are waited for one by one"


def test_a_token_that_comes_back_to_a_full_bucket_is_lost() -> None:
    world = world_with(Limit("rate", rate=1.0, burst=2))
    world.now = 2.0
    held, other = world.tick(request())
    world.now = 60.0  # the bucket is full again
    ends = [
        world.end(held, OutcomeKind.LOST, begun=False),
        world.end(other, OutcomeKind.LOST, begun=False),
    ]
    assert len(world.tick(request(), ends=ends)) == 2
    assert not world.tick(request()), "the bucket is empty now"
    world.now = 61.0
    assert len(world.tick(request())) == 1


def test_an_attempt_that_did_not_begin_gives_back_its_token() -> None:
    world = world_with(Limit("rate", rate=1.0, burst=1))
    world.now = 1.0
    [running] = world.tick(request())
    world.now = 1.1
    [again] = world.tick(request(), ends=[world.end(running, OutcomeKind.RELEASED)]) or world.tick(
        request()
    )
    assert again.claimed_at == NOW + 1.1


def test_an_attempt_that_may_have_begun_keeps_its_token() -> None:
    world = world_with(Limit("rate", rate=1.0, burst=1))
    world.now = 1.0
    [running] = world.tick(request())
    world.fleet.unsure.add((running.task_id, running.attempt))
    world.tick(ends=[world.end(running, OutcomeKind.RELEASED)])
    assert not world.tick(request())


def test_a_handler_closes_the_limit_of_its_key() -> None:
    world = world_with(Limit("key", running=5, by="/key"), 2, key="x")
    world.add("a", "y")
    first, *_ = world.tick(request(1))
    end = world.end(first, OutcomeKind.SNOOZED, delay_seconds=30.0, closes="key")
    world.tick(ends=[end])
    assert [item.limit_values for item in world.tick(request())] == ['{"key":"y"}']
    world.now = 29.9
    assert not world.tick(request())
    assert world.book.limits.next_time == pytest.approx(30.0)
    world.now = 30.0
    world.promote()
    assert len(world.tick(request())) == 2


def test_a_runner_that_queues_gets_one_of_a_rate_and_only_when_it_is_empty() -> None:
    world = world_with(Limit("rate", rate=100.0, burst=100))
    world.fleet.averages.add("a", 0.001)
    world.now = 10.0
    for empty, expected in ((False, 0), (True, 1)):
        queue = CapacityRequest("r1", {"a": 256}, 256, 0.1, empty=empty)
        assert len(world.tick(queue)) == expected


def test_other_bounds_wake_what_they_let_through() -> None:
    world = world_with(Limit("all", running=1))
    assert len(world.tick(request())) == 1
    assert not world.tick(request())
    setting = LimitSetting("all", 4, None, 1.0, None, NOW, "me")
    world.lanes.steer(Steering(limits={"all": setting}))
    assert world.lanes.open_work(["a"])
    assert len(world.tick(request())) == 3


def test_keys_that_nobody_uses_cost_no_memory() -> None:
    world = ClaimWorld()
    world.declare(info("a", Limit("key", running=1, by="/key")))
    for number in range(500):
        world.add("a", f"k{number}")
    running = [item for _ in range(3) for item in world.tick(request(1000))]
    assert len(running) == 500
    world.tick(ends=[world.end(item) for item in running])
    world.now += 1
    world.tick(request())
    assert not world.book.limits.by_name["key"].gates


def test_blocked_lanes_are_asked_no_more() -> None:
    world = ClaimWorld()
    world.declare(info("a", Limit("key", running=1, by="/key")))
    for _ in range(200):
        world.add("a", "full")
    assert len(world.tick(request())) == 1
    world.asked.clear()
    for number in range(50):
        world.add("a", f"k{number}")
        [running] = world.tick(request())
        world.tick(ends=[world.end(running)])
    assert len(world.asked) == 50


async def test_buckets_are_empty_when_a_reign_begins(
    faulty_store: FaultyStore, clock: FakeClock
) -> None:
    """A tracker may wait long for its database, and another one may use the rate meanwhile."""
    tracker = Tracker(faulty_store, clock=clock, lease_seconds=LEASE)
    tracker.set_handlers([info("a", Limit("rate", rate=1.0, burst=5))])
    [gate] = tracker.ticker.ledger.claims.limits.of_type("a").plain
    clock.advance(100)
    assert gate.room(clock()) == 5
    await tracker.start()
    assert gate.room(clock()) == 0
    clock.advance(2)
    assert gate.room(clock()) == 2
    await tracker.close()


def test_a_token_of_a_limit_that_is_gone_wakes_nobody() -> None:
    world = world_with(Limit("rate", rate=1.0, burst=1), tasks=2)
    assert not world.tick(request())
    world.declare(info("a"))
    assert len(world.tick(request())) == 2
    world.now = 5.0
    world.book.look_at_the_time()
    assert not world.lanes.is_any_open, "a queue of the former version was opened"
