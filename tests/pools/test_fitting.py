"""How pools are fitted to their work: from runners' states, without a cluster."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from raytasks.model.controls import Batch, Pool
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.states import LossCause
from raytasks.model.steering import PoolSetting
from raytasks.model.tasks import Running
from raytasks.pools.declared_pools import DeclaredPool, declared_pools
from raytasks.pools.fitting import LEAVING_SECONDS, Fit, Fitting, counts_as_leaving
from raytasks.pools.roster import PooledRunner, RunnerView
from raytasks.pools.size_rules import bounds_of, size_rule
from raytasks.protocol.messages import Demand
from raytasks.runner.nested import NestedWaits
from raytasks.runner.sizing import SizeRule, TypeWork
from raytasks.settings import Settings

MAIL = Pool("mail", (0, 6), {"num_cpus": 0.5})
WIDE = Pool("wide", (1, 3))

HANDLERS = (
    HandlerInfo("short", HandlerKind.FUNCTION, (0, 0)),
    HandlerInfo("long", HandlerKind.FUNCTION, (0, 0)),
    HandlerInfo("wait", HandlerKind.FUNCTION, (0, 0), concurrency=50),
    HandlerInfo("send", HandlerKind.FUNCTION, (0, 0), {"num_cpus": 0.5}, own_pool=MAIL),
    HandlerInfo("sort", HandlerKind.CLASS, (1, 1), {"num_cpus": 0.5}, own_pool=MAIL),
    HandlerInfo("model", HandlerKind.CLASS, (2, 5)),
    HandlerInfo("far", HandlerKind.REMOTE, (0, 0)),
    HandlerInfo("many", HandlerKind.FUNCTION, (0, 0), own_pool=WIDE, batch=Batch(8), concurrency=2),
    HandlerInfo("one", HandlerKind.FUNCTION, (0, 0), own_pool=WIDE),
)
POOLS = declared_pools(HANDLERS)


@dataclass
class State:
    """The state of a runner, as the tracker has it."""

    name: str
    held: dict[str, Any] = field(default_factory=dict)
    leaving: bool = False
    waits_for: str | None = None
    runner_id: str = "id"
    batch: int = 0
    retiring: bool = False
    node_id: str | None = None
    capacity_by_type: Mapping[str, int] = field(default_factory=lambda: {"send": 1})
    demands: Sequence[Demand] = ()


class Tracker:
    """A tracker with some open work."""

    def __init__(self, **work: TypeWork) -> None:
        self.work = work

    def runners(self) -> Sequence[RunnerView]:
        return ()

    async def demand(self, task_types: Sequence[str]) -> Mapping[str, TypeWork]:
        return {name: work for name, work in self.work.items() if name in task_types}

    def has_predecessors(self) -> bool:
        return False

    def pool_settings(self) -> Mapping[str, PoolSetting]:
        return {}

    def mark_lost(
        self,
        runner_id: str,
        reason: str,
        *,
        out_of_memory: bool = False,
        cause: LossCause = LossCause.PROCESS,
    ) -> None:
        raise AssertionError((runner_id, reason, out_of_memory, cause))

    def release_runner(self, runner_id: str) -> int:
        raise AssertionError(runner_id)


def running(task_type: str, seconds: float) -> Running:
    return Running("t", task_type, 1, "id", time.time() - seconds, 0, 0, 0, 3)


def runner(slot: int, *, age: float = 100.0, pool: str = "mail") -> PooledRunner:
    return PooledRunner(f"runner.{pool}.{slot}@g", None, active_at=time.monotonic() - age)


def names(runners: Sequence[PooledRunner]) -> list[int]:
    return [item.slot for item in runners]


class TestPoolsOfHandlers:
    def test_their_types_options_and_bounds(self) -> None:
        settings = Settings(_env_file=None, warm_runners_min=2, warm_runners_max=4)
        found = {
            name: (pool.task_types, pool.bounds(settings), dict(pool.ray_options))
            for name, pool in POOLS.items()
        }
        assert found == {
            "shared": (("short", "long"), (2, 4), {}),
            "concurrent": (("wait",), (2, 4), {}),
            "mail": (("send", "sort"), (0, 6), {"num_cpus": 0.5}),
            "class.model": (("model",), (2, 5), {}),
            "remote": (("far",), (1, 1), {}),
            "wide": (("many", "one"), (1, 3), {}),
        }
        assert [name for name, pool in POOLS.items() if pool.keeps_spare] == ["shared"]

    def test_the_slots_of_their_runners(self) -> None:
        slots = {name: pool.slots.by_type for name, pool in POOLS.items()}
        assert slots["wide"] == {"many": 16, "one": 1}
        assert slots["concurrent"] == {"wait": 50}
        assert slots["shared"] is slots["mail"] is slots["class.model"] is None

    async def test_what_a_person_has_set_goes_before_what_is_declared(self) -> None:
        settings = Settings(_env_file=None, warm_runners_max=4)
        setting = PoolSetting("mail", 3, 9, 0.0, "ops")
        for name, declared in (("mail", (0, 6)), ("shared", (1, 4)), ("class.model", (2, 5))):
            bounds = await bounds_of(POOLS[name], settings, setting)
            assert (bounds.in_force, bounds.declared) == ((3, 9), declared)
        bounds = await bounds_of(POOLS["mail"], settings, None)
        assert (bounds.in_force, bounds.declared) == ((0, 6), (0, 6))
        rule = size_rule(POOLS["mail"], bounds, 30.0)
        assert (rule.least, rule.most, rule.spare) == (0, 6, False)


class TestFit:
    async def fit(
        self,
        mine: list[PooledRunner],
        states: list[State],
        *,
        pool: DeclaredPool = POOLS["mail"],
        rule: tuple[int, int] = (0, 6),
        fitting: Fitting | None = None,
        keep: float = 30.0,
        **work: TypeWork,
    ) -> Fit:
        fitting = fitting or Fitting(Tracker(**work), NestedWaits())
        own = SizeRule(*rule, 30.0, 30.0, pool.keeps_spare)
        return await fitting.fit(pool, mine, {state.name: state for state in states}, own, keep)

    async def test_an_empty_pool_starts_with_its_first_task(self) -> None:
        assert (await self.fit([], [])).change == 0
        assert (await self.fit([], [], send=TypeWork(1))).change == 1
        assert (await self.fit([], [], short=TypeWork(9))).change == 0  # of another pool

    async def test_it_grows_at_once_to_what_its_types_ask_for_together(self) -> None:
        assert (await self.fit([], [], send=TypeWork(3, 60.0), sort=TypeWork(2, 9.0))).change == 5
        assert (await self.fit([], [], send=TypeWork(99, 60.0))).change == 6

    async def test_busy_runners_are_no_help_for_long_ones_and_free_ones_are(self) -> None:
        mine = [runner(1), runner(2), runner(3, age=0.1)]
        states = [State(mine[0].name, {"t": running("send", 1.0)}), State(mine[1].name)]
        found = await self.fit(mine, states, send=TypeWork(5, 60.0))
        assert (found.change, found.starting) == (3, 1)

    async def test_slots_of_concurrent_runners(self) -> None:
        mine = [runner(1, pool="wide")]
        held = {str(number): running("many", 1.0) for number in range(10)}
        states = [State(mine[0].name, held)]
        for number, change in ((6, 0), (7, 1), (22, 1), (23, 2)):
            found = await self.fit(
                mine, states, pool=POOLS["wide"], rule=(1, 3), many=TypeWork(number, 60.0)
            )
            assert found.change == change

    async def test_one_that_leaves_takes_nothing_and_is_replaced_if_that_takes_long(self) -> None:
        mine = [runner(1)]
        state = State(mine[0].name, {"t": running("send", 1.0)}, leaving=True)
        found = await self.fit(mine, [state], send=TypeWork(1, 0.01))
        assert found.change == 1
        now = time.monotonic()
        assert not counts_as_leaving(mine[0], state, now)
        assert not counts_as_leaving(mine[0], state, now + LEAVING_SECONDS / 2)
        assert counts_as_leaving(mine[0], state, now + LEAVING_SECONDS + 0.1)
        state.leaving = False  # its process has begun again
        assert not counts_as_leaving(mine[0], state, now + LEAVING_SECONDS + 0.2)
        assert not counts_as_leaving(mine[0], None, now + 99.0)

    async def test_the_highest_slots_leave_first_and_busy_ones_last(self) -> None:
        mine = [runner(slot) for slot in (1, 2, 3, 4)]
        states = [State(item.name) for item in mine]
        states[3].held = {"t": running("send", 1.0)}
        found = await self.fit(mine, states, rule=(0, 2), send=TypeWork(0, 1.0))
        assert (found.change, names(found.leaving)) == (-2, [3, 2, 1, 4])

    async def test_idle_ones_leave_to_the_last(self) -> None:
        mine = [runner(slot) for slot in (1, 2)]
        found = await self.fit(mine, [State(item.name) for item in mine])
        assert (found.change, names(found.leaving)) == (-2, [2, 1])

    async def test_what_was_needed_lately_stays(self) -> None:
        tracker = Tracker(send=TypeWork(3, 60.0))
        fitting = Fitting(tracker, NestedWaits())
        mine = [runner(slot, age=0.0) for slot in (1, 2, 3)]
        states = [State(item.name, {"t": running("send", 1.0)}) for item in mine]
        assert (await self.fit(mine, states, fitting=fitting)).change == 3
        tracker.work = {}
        states = [State(item.name) for item in mine]
        assert (await self.fit(mine, states, fitting=fitting)).change == 0
        assert (await self.fit(mine, states, fitting=fitting, keep=0.0)).change == -2

    async def test_the_pool_of_remote_tasks_asks_for_nothing(self) -> None:
        mine = [runner(1, pool="remote")]
        states = [State(mine[0].name, {"t": running("far", 99.0)})]
        found = await self.fit(
            mine, states, pool=POOLS["remote"], rule=(1, 1), far=TypeWork(99, 60.0)
        )
        assert found.change == 0


@pytest.mark.parametrize("measured", [0.2, 9.0])
async def test_the_measured_start_counts(measured: float) -> None:
    fitting = Fitting(Tracker(send=TypeWork(100, 0.1)), NestedWaits())
    fitting.starts.add("mail", measured)
    mine = [runner(1)]
    states: dict[str, RunnerView] = {mine[0].name: State(mine[0].name)}
    rule = SizeRule(0, 6, 30.0, 30.0)
    found = await fitting.fit(POOLS["mail"], mine, states, rule, 30.0)
    assert found.change == (3 if measured < 1 else 0)
