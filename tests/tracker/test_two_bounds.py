"""Gates that two bounds hold up, one after the other: who waits there is woken after both."""

import time

import pytest

from raytasks.model.controls import Limit
from raytasks.model.lane_names import lane_of
from raytasks.model.states import OutcomeKind
from raytasks.tracker.sharing import CapacityRequest
from tests.making import new_task, outcome
from tests.tracker.claim_world import ClaimWorld, info
from tests.tracking import FaultyStore, ScriptedRunner, tracker_on


def request(*types: str) -> CapacityRequest:
    """Return what a runner asks for that has room for all."""
    return CapacityRequest("r1", dict.fromkeys(types, 100), 100, None, empty=False)


@pytest.mark.parametrize("by", [None, "/key"])
def test_the_next_token_comes_after_the_end_of_what_runs(by: str | None) -> None:
    """The end makes no room, as the bucket is empty, and the token finds nobody who runs."""
    both = Limit("both", running=1, rate=1.0, per_seconds=10.0, burst=1, by=by)
    world = ClaimWorld()
    world.declare(info("a", both), info("b", both))
    world.add("a", "x")
    world.now = 10.0
    [first] = world.tick(request("a", "b"))
    for _ in range(3):
        world.add("b", "x")
    for number in range(3):
        world.now += 0.5
        assert world.tick(request("a", "b")) == []
        world.now += 0.5
        assert world.tick(ends=[world.end(first)]) == []
        assert world.book.limits.next_time == 10.0 * (number + 2)
        world.now = 10.0 * (number + 2)
        [first] = world.tick(request("a", "b"))
        assert first.task_type == "b"


async def test_a_closed_limit_opens_after_the_put_off_task_is_due(sqlite_url: str) -> None:
    """`RateLimited` closes it from the commit on; its task waits from the tick's beginning on."""
    ordered = Limit("customer", running=1, by="/account", ordered=True)
    values = '{"customer":"acme"}'
    store = FaultyStore(sqlite_url)
    async with tracker_on(store) as tracker:
        tracker.set_handlers([info("short", ordered)])
        runner = ScriptedRunner(tracker)
        lane = lane_of("default", values)
        await tracker.submit(
            [
                new_task(n, created_at=time.time(), limit_values=values, lane=lane, run_at=None)
                for n in (1, 2)
            ]
        )
        [claim] = await runner.claim()
        store.before_commit = lambda: time.sleep(0.05)
        snoozed = outcome(
            claim, OutcomeKind.SNOOZED, at=time.time(), delay_seconds=2.0, closes="customer"
        )
        await runner.exchange([snoozed])
        store.before_commit = None
        [again] = await runner.claim()
        assert again.task_id == claim.task_id
