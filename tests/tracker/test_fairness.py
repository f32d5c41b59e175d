"""Shares in virtual minutes: some slots, two tenants or types, and who gets the seconds."""

import heapq
from collections import Counter
from collections.abc import Callable

import pytest

from raytasks.model.controls import Limit
from raytasks.model.steering import NamespaceSetting, Pause, Steering
from raytasks.model.tasks import Running
from raytasks.tracker.sharing import CapacityRequest
from tests.tracker.claim_world import NOW, ClaimWorld, info

SLOTS = 4


class Minute:
    """Runners with one slot each, which run tasks of given lengths, in virtual time."""

    def __init__(self, world: ClaimWorld, seconds: Callable[[str, str], float]) -> None:
        self.world = world
        self.seconds = seconds
        self.used: Counter[tuple[str, str]] = Counter()
        self.waits: dict[str, float] = {}
        self._free = [f"r{number}" for number in range(SLOTS)]
        self._ends: list[tuple[float, str, Running]] = []
        self._asked: dict[str, float] = {}

    def run(self, until: float) -> None:
        """Let time pass: each end and each free slot is a tick."""
        world = self.world
        while world.now < until:
            self._claim([])
            if not self._ends:
                return
            at, runner_id, running = heapq.heappop(self._ends)
            if at > until:
                heapq.heappush(self._ends, (at, runner_id, running))
                world.now = until
                return
            world.now = at
            self._free.append(runner_id)
            world.fleet.averages.add(running.task_type, at - (running.claimed_at - NOW))
            self._claim([running])

    def _claim(self, ended: list[Running]) -> None:
        world = self.world
        requests = [
            CapacityRequest(name, dict.fromkeys(world.infos, 1), 1, seconds=0.1, empty=True)
            for name in self._free
        ]
        for running in world.tick(*requests, ends=[world.end(item) for item in ended]):
            self._free.remove(running.runner_id)
            seconds = self.seconds(running.namespace, running.task_type)
            heapq.heappush(self._ends, (world.now + seconds, running.runner_id, running))
            self.used[running.namespace, running.task_type] += seconds  # type: ignore[assignment]
            self.waits[running.task_id] = world.now - self._asked.get(running.task_id, 0.0)

    def submit(self, number: int, namespace: str, task_type: str = "a") -> list[str]:
        """Submit tasks now, and return their ids."""
        tasks = [self.world.add(task_type, None, namespace) for _ in range(number)]
        for task in tasks:
            self._asked[task.task_id] = self.world.now
        return [task.task_id for task in tasks]


def weigh(world: ClaimWorld, **weights: float) -> None:
    """Set the weights of namespaces."""
    settings = {
        name: NamespaceSetting(name, weight, None, NOW, "me") for name, weight in weights.items()
    }
    world.lanes.steer(Steering(namespaces=settings))


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_namespaces_get_seconds_by_weight_whatever_their_tasks_take(weight: float) -> None:
    world = ClaimWorld()
    world.declare(info("a"), info("b"))
    weigh(world, left=weight, right=1.0)
    minute = Minute(world, lambda _space, name: 0.2 if name == "a" else 0.7)
    minute.submit(2000, "left", "a")
    minute.submit(600, "right", "b")
    minute.run(60.0)
    left, right = minute.used["left", "a"], minute.used["right", "b"]
    assert left / right == pytest.approx(weight, rel=0.1)


def test_types_of_a_namespace_share_by_weight() -> None:
    world = ClaimWorld()
    world.declare(info("a", weight=2.0), info("b"))
    minute = Minute(world, lambda _space, _name: 0.3)
    minute.submit(1000, "default", "a")
    minute.submit(1000, "default", "b")
    minute.run(60.0)
    assert minute.used["default", "a"] / minute.used["default", "b"] == pytest.approx(2.0, rel=0.1)


def test_what_runs_long_is_charged_while_it_runs() -> None:
    world = ClaimWorld()
    world.declare(info("a"))
    minute = Minute(world, lambda space, _name: 30.0 if space == "left" else 0.5)
    minute.submit(3, "left")  # three of four slots for half a minute, which nobody has foreseen
    minute.run(1.0)
    minute.submit(400, "right")
    minute.submit(50, "left")
    minute.run(29.0)
    assert minute.used["left", "a"] == 90.0, "left got more though it already had more"


def test_a_tenant_behind_a_flood_waits_twice_as_long_as_alone_at_most() -> None:
    def p95(flood: int) -> float:
        world = ClaimWorld()
        world.declare(info("a"))
        minute = Minute(world, lambda _space, _name: 0.05)
        world.fleet.averages.add("a", 0.05)
        minute.submit(flood, "flood")
        minute.run(1.0)
        mine = minute.submit(100, "mine")
        minute.run(60.0)
        return sorted(minute.waits[name] for name in mine)[94]

    alone, behind = p95(0), p95(1000)
    assert behind <= 2.2 * alone + 0.05


def test_who_was_idle_has_saved_nothing() -> None:
    world = ClaimWorld()
    world.declare(info("a"))
    minute = Minute(world, lambda _space, _name: 0.25)
    minute.submit(1, "late")
    minute.submit(3000, "flood")
    minute.run(30.0)
    minute.submit(1000, "late")
    before = minute.used["flood", "a"]
    minute.run(40.0)
    assert minute.used["flood", "a"] - before == pytest.approx(20.0, rel=0.1)


def test_who_has_had_much_before_all_was_idle_does_not_wait_for_a_newcomer() -> None:
    world = ClaimWorld()
    world.declare(info("a"))
    minute = Minute(world, lambda _space, _name: 0.25)
    minute.submit(200, "old")
    minute.submit(200, "other")
    minute.run(30.0)  # more than it takes: then all is idle
    minute.submit(3000, "new")
    world.now = minute.world.now
    minute.submit(200, "old")
    before = minute.used["old", "a"]
    began = world.now
    minute.run(began + 10.0)
    assert minute.used["old", "a"] - before == pytest.approx(20.0, rel=0.1)


def test_what_has_used_much_before_a_pause_does_not_wait_for_a_newcomer_after_it() -> None:
    world = ClaimWorld()
    world.declare(info("a"))
    minute = Minute(world, lambda _space, _name: 0.25)
    minute.submit(1, "new")
    minute.submit(400, "old")
    minute.submit(400, "other")
    minute.run(10.0)
    assert minute.used["old", "a"] > 15.0
    pause = Pause("", "", since=world.now, until=None, by="me")
    world.lanes.steer(Steering(pauses={pause.key: pause}))
    minute.submit(3000, "new")
    world.lanes.steer(Steering())
    before = minute.used["old", "a"]
    minute.run(world.now + 10.0)
    assert minute.used["old", "a"] - before >= 10.0


@pytest.mark.parametrize("expected", [0.04, 5.0])  # seconds of an attempt, before one has ended
def test_a_rate_is_shared_by_those_who_wait_for_its_tokens(expected: float) -> None:
    world = ClaimWorld()
    world.declare(info("a", Limit("rate", rate=2.0, burst=1)), info("b"))
    world.fleet.averages.add("a", expected)
    minute = Minute(world, lambda _space, _name: 0.04)
    for space in ("flood", "other"):
        minute.submit(100, space, "b")
    minute.run(5.0)  # both have had much
    world.now = 5.0
    minute.submit(100, "flood")
    minute.submit(100, "new")
    minute.submit(100, "other")
    for step in range(51, 251):
        minute.run(step / 10)
        world.now = step / 10
    shares = [minute.used[space, "a"] for space in ("flood", "new", "other")]
    assert sum(shares) == pytest.approx(40 * 0.04, abs=0.1)
    assert max(shares) - min(shares) <= 0.1


def test_what_runs_long_behind_a_limit_is_charged_while_it_runs() -> None:
    world = ClaimWorld()
    world.declare(info("a", Limit("one", running=1)))
    world.fleet.averages.add("a", 0.1)
    minute = Minute(world, lambda _space, _name: 30.0)
    [first] = minute.submit(1, "left")  # for half a minute, which nobody has foreseen
    minute.run(1.0)
    minute.submit(5, "left")
    minute.submit(5, "right")
    for second in range(2, 29):  # nobody takes turns: both wait before the limit
        minute.run(float(second))
        world.now = float(second)
    [running] = world.fleet.running.values()
    assert running.task_id == first
    lane = world.lanes.find("a", running.lane)
    assert lane is not None
    assert lane.queue.share.space.time == pytest.approx(28.0, abs=1.0)
