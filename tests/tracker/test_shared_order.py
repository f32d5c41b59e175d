"""An order by key over several lanes: the first one comes first, and no other waits for nobody."""

import math

import pytest

from raytasks.model.controls import Limit
from raytasks.model.lane_names import lane_of
from raytasks.model.steering import Pause, Steering
from raytasks.protocol.commands import CancelTask, PauseWork
from raytasks.protocol.queries import WaitingFor
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from raytasks.tracker.sharing import CapacityRequest
from tests.making import new_task, task_id
from tests.tracker.claim_world import NOW, ClaimWorld, info
from tests.tracking import ScriptedRunner, let_run

ORDER = Limit("order", running=1, by="/key", ordered=True)
RATED = Limit("order", running=1, rate=1.0, burst=1, by="/key", ordered=True)
VALUES = '{"order":"x"}'


def request(*types: str) -> CapacityRequest:
    """Return what a runner asks for that has room for all."""
    return CapacityRequest("r1", dict.fromkeys(types, 100), 100, None, empty=False)


def world_of(*order: str, limit: Limit = ORDER, rank: float | None = None) -> ClaimWorld:
    """Return a world with tasks of one key, of the types a and b, in this order."""
    world = ClaimWorld()
    world.declare(info("a", limit), info("b", limit))
    world.now = 10.0
    for task_type in order:
        world.add(task_type, "x", rank=rank)
    return world


def claimed(world: ClaimWorld, *types: str) -> list[str]:
    """Return the types of what is claimed by ticks that follow each other without a pause."""
    found = []
    for _ in range(10):
        claims = world.tick(request(*types))
        found += [claim.task_type for claim in claims]
        if not (claims or world.lanes.has_news or world.has_more):
            return found
    raise AssertionError("the ticks go on without end")


def test_the_next_task_runs_when_the_first_is_cancelled_that_nobody_could_run() -> None:
    world = world_of("a", "b", "a")
    first, second, _ = world.tasks.values()
    assert claimed(world, "b") == []
    world.cancel(first)
    assert claimed(world, "b") == ["b"]
    assert second.running is not None


def test_the_next_task_runs_when_the_first_gets_a_later_place() -> None:
    world = world_of("a", "b", "a")
    first, _, _ = world.tasks.values()
    assert claimed(world, "b") == []
    world.apply_changes([(first, -1)])
    first.rank += 60.0
    world.apply_changes([(first, 1)])
    assert claimed(world, "b") == ["b"]


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_of_two_with_the_same_rank_the_first_is_claimed_at_once(order: str) -> None:
    """Which of them comes first shows only when both lanes are read."""
    world = world_of(*order, rank=float(NOW))
    assert claimed(world, "a", "b") == [order[0]]


@pytest.mark.parametrize("limit", [ORDER, RATED], ids=["plain", "rated"])
def test_who_is_behind_the_first_is_no_open_work(limit: Limit) -> None:
    """It wakes nobody, however much time passes, until the first one has gone."""
    world = world_of("a", "b", "b", limit=limit)
    assert claimed(world, "b") == []
    assert world.lanes.open_work(["a", "b"]) == {"a": 1}
    assert world.book.limits.next_time == math.inf
    world.now += 10.0
    world.book.look_at_the_time()
    assert world.lanes.open_work(["a", "b"]) == {"a": 1}
    assert claimed(world, "a", "b") == ["a"]
    [first] = world.running
    world.now += 10.0
    world.tick(ends=[world.end(first)])
    assert claimed(world, "a", "b") == ["b"]


def test_it_is_no_open_work_while_the_type_of_the_first_is_paused() -> None:
    world = world_of("a", "b")
    pause = Pause("", "a", NOW, None, "me")
    world.lanes.steer(Steering(pauses={("", "a"): pause}))
    assert claimed(world, "a", "b") == []
    assert world.lanes.open_work(["a", "b"]) == {}
    world.lanes.steer(Steering())
    assert claimed(world, "a", "b") == ["a"]


async def test_waiting_for_names_the_task_that_comes_first(
    tracker: Tracker, clock: FakeClock
) -> None:
    tracker.set_handlers([info("a", ORDER), info("b", ORDER)])
    await tracker.execute(PauseWork(task_type="a"))
    runner = ScriptedRunner(tracker, a=1, b=1)
    lane = lane_of("default", VALUES)
    for number, task_type in enumerate("ab", start=1):
        task = new_task(number, task_type=task_type, limit_values=VALUES, lane=lane)
        await tracker.submit([task])
    runner.send()
    query = WaitingFor(task_id(2), "b", clock(), "default", VALUES)
    while not (found := await tracker.read(query)) or found[0]["code"] != "limit_full":
        await let_run()
    [reason] = found
    assert task_id(1) in reason["message"]
    assert reason["details"] | {"first": task_id(1), "first_type": "a"} == reason["details"]
    assert "b" not in await tracker.demand(["a", "b"])
    await tracker.execute(CancelTask(task_id(1)))
    [claim] = await runner.claim()
    assert claim.task_id == task_id(2)
