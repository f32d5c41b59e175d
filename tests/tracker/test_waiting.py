"""Why a task waits: each reason, when it really happens to a tracker without a cluster."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from raytasks.model.controls import Limit
from raytasks.model.handler_info import REMOTE_POOL, HandlerInfo, HandlerKind
from raytasks.model.tasks import StoreUnavailable
from raytasks.model.time_text import rfc3339
from raytasks.pools.cluster_view import ClusterNode, FailingStart, PoolView, RunnerPlace, Stage
from raytasks.protocol.messages import Demand
from raytasks.protocol.queries import LimitList, WaitingFor
from raytasks.testing import FakeClock
from raytasks.tracker import waiting
from raytasks.tracker.access import SLOW_SECONDS
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, task_id
from tests.tracking import FaultyStore, ScriptedRunner, let_run, tracker_on

STARTING = RunnerPlace("runner.shared.1@g", Stage.STARTING, 0.2, placed=True)
SHARED = PoolView("shared", ("short", "long"), 1, 2)


@dataclass
class Played:
    """An outlook that a test sets."""

    known: Collection[str] | None = ("short", "long")
    shown: Sequence[PoolView] = (SHARED,)
    seen: Sequence[ClusterNode] = ()
    added: Mapping[str, int] = field(default_factory=dict)

    def task_types(self) -> Collection[str] | None:
        return self.known

    def pools(self) -> Sequence[PoolView]:
        return self.shown

    def nodes(self) -> Sequence[ClusterNode]:
        return self.seen

    def coming(self) -> Mapping[str, int]:
        return self.added


@pytest.fixture
def outlook(tracker: Tracker) -> Played:
    """The surroundings of the tracker: a pool without runners."""
    played = Played()
    tracker.observer.outlook = played
    return played


def node(**total: float) -> ClusterNode:
    free = {**total, "CPU": 0.0}
    return ClusterNode("n1", "host", "10.0.0.1", True, True, total, free, {})


async def submit(tracker: Tracker, *numbers: int, **changes: Any) -> None:
    await tracker.submit([new_task(number, **changes) for number in numbers])


async def reasons(
    tracker: Tracker, number: int = 1, *, task_type: str = "short", run_at: float = NOW
) -> list[dict[str, Any]] | None:
    """Return why a task waits, as a replica asks for it."""
    return await tracker.read(WaitingFor(task_id(number), task_type, run_at))


async def codes(tracker: Tracker, number: int = 1, **asked: Any) -> list[str]:
    found = await reasons(tracker, number, **asked)
    assert found is not None
    for reason in found:
        assert reason.keys() == {"code", "message", "fix", "details", "until"}
        assert reason["message"]
    return [reason["code"] for reason in found]


class TestWholeService:
    """Reasons that hold back all tasks, or all of a type."""

    async def test_not_due(self, tracker: Tracker, outlook: Played) -> None:
        due = tracker.ticker.clock() + 600
        await submit(tracker, 1, run_at=due)
        found = await reasons(tracker, run_at=due)
        assert found is not None
        [reason] = found
        assert (reason["code"], reason["until"]) == ("not_due", rfc3339(due))

    async def test_limits(self, tracker: Tracker, outlook: Played, clock: FakeClock) -> None:
        limits = (Limit("all", running=1), Limit("rate", rate=1.0, burst=1))
        info = HandlerInfo("short", HandlerKind.FUNCTION, (0, 1), limits=limits)
        tracker.set_handlers([info])
        clock.advance(1)
        tracker.ticker.wake.set()
        runner = ScriptedRunner(tracker, short=5)
        await submit(tracker, 1, 2)
        [claim] = await runner.claim()
        assert claim.task_id == task_id(1)
        full, rate = await reasons(tracker, 2) or []
        assert (full["code"], rate["code"]) == ("limit_full", "rate")
        assert full["details"] == {"limit": "all", "key": None, "running": 1, "bound": 1}
        assert rate["until"] == rfc3339(tracker.ticker.clock() + 1)
        assert "short" not in await tracker.demand(["short"])
        document = {item["name"]: item for item in await tracker.read(LimitList())}["all"]
        assert (document["running"], document["waiting"]) == (1, 1)
        await runner.hang_up()

    async def test_no_handler(self, tracker: Tracker, outlook: Played) -> None:
        await submit(tracker, 1, task_type="gone")
        assert await codes(tracker, task_type="gone") == ["no_handler"]
        due = tracker.ticker.clock() + 600
        assert await codes(tracker, task_type="gone", run_at=due) == ["no_handler", "not_due"]

    async def test_no_version_yet(self, tracker: Tracker, outlook: Played) -> None:
        outlook.known = None
        await submit(tracker, 1)
        found = await reasons(tracker)
        assert found is not None
        assert [reason["code"] for reason in found] == ["no_handler"]
        assert "no version" in found[0]["message"]

    async def test_paused(self, tracker: Tracker, outlook: Played) -> None:
        runner = ScriptedRunner(tracker)
        runner.send()
        await let_run()
        await tracker.pause()
        await submit(tracker, 1)
        found = await reasons(tracker)
        assert found is not None
        assert [reason["code"] for reason in found] == ["paused"]
        assert "raytasks resume" in found[0]["fix"]
        await tracker.resume()
        assert await runner.claim()
        assert await reasons(tracker) is None

    async def test_the_service_stops(self, tracker: Tracker, outlook: Played) -> None:
        await submit(tracker, 1)
        await tracker.stop_claiming()
        assert (await codes(tracker))[0] == "draining"

    async def test_the_database_is_away(
        self, tracker: Tracker, outlook: Played, store: FaultyStore
    ) -> None:
        await submit(tracker, 1)
        store.away = True
        with pytest.raises(StoreUnavailable):
            await submit(tracker, 2)
        assert (await codes(tracker))[0] == "database_away"
        store.away = False
        await submit(tracker, 3)
        assert await codes(tracker) == ["no_runner"]

    async def test_a_write_that_hangs_is_the_database_away(self, faulty_store: FaultyStore) -> None:
        clock = FakeClock(NOW)
        async with tracker_on(faulty_store, clock=clock) as tracker:
            tracker.observer.outlook = Played()
            await submit(tracker, 1)
            tracker.ticker.access._writes[object()] = clock() - SLOW_SECONDS
            assert (await codes(tracker))[0] == "database_away"
            tracker.ticker.access._writes.clear()


class TestRunners:
    """Reasons that lie in the task's pool."""

    async def test_no_runner(self, tracker: Tracker, outlook: Played) -> None:
        await submit(tracker, 1)
        assert await codes(tracker) == ["no_runner"]
        outlook.shown = ()
        assert await codes(tracker) == ["no_runner"]

    async def test_runners_that_end_at_their_start(self, tracker: Tracker, outlook: Played) -> None:
        failing = FailingStart(4, "ImportError: no torch", NOW)
        outlook.shown = [replace(SHARED, runners=[STARTING], failing=failing)]
        await submit(tracker, 1)
        found = await reasons(tracker)
        assert found is not None
        assert [reason["code"] for reason in found] == ["no_runner", "runner_starting"]
        assert "no torch" in found[0]["message"]
        assert found[0]["details"]["tries"] == 4

    async def test_a_runner_starts(self, tracker: Tracker, outlook: Played) -> None:
        outlook.shown = [replace(SHARED, runners=[STARTING])]
        await submit(tracker, 1)
        assert await codes(tracker) == ["runner_starting"]
        outlook.shown = [replace(SHARED, runners=[replace(STARTING, stage=Stage.UP)])]
        assert await codes(tracker) == ["runner_starting"]

    async def test_a_runner_without_a_place(self, tracker: Tracker, outlook: Played) -> None:
        needs = {"CPU": 1.0, "GPU": 1.0}
        place = replace(STARTING, placed=False, seconds=9.0, resources=needs)
        outlook.shown = [replace(SHARED, runners=[place])]
        await submit(tracker, 1)
        assert await codes(tracker) == ["runner_starting"]  # the nodes are not known
        outlook.seen = [node(CPU=4.0)]
        found = await reasons(tracker)
        assert found is not None
        assert [reason["code"] for reason in found] == ["never_fits"]
        assert found[0]["details"]["resources"] == needs
        assert "autoscaler" in found[0]["fix"]
        outlook.seen = [node(CPU=4.0, GPU=1.0)]
        assert await codes(tracker) == ["no_resources"]

    async def test_a_runner_for_which_nodes_are_added(
        self, tracker: Tracker, outlook: Played
    ) -> None:
        place = replace(STARTING, placed=False, seconds=9.0, resources={"GPU": 1.0})
        outlook.shown = [replace(SHARED, runners=[place])]
        outlook.seen, outlook.added = [node(CPU=4.0)], {"gpu": 1, "cpu": 2}
        await submit(tracker, 1)
        found = await reasons(tracker)
        assert found is not None
        assert [reason["code"] for reason in found] == ["nodes_coming"]
        assert "has GPU: 1 free now" in found[0]["message"]
        assert found[0]["message"].endswith("adding nodes (cpu: 2, gpu: 1)")
        assert found[0]["details"]["nodes_coming"] == {"gpu": 1, "cpu": 2}

    async def test_only_old_runners_that_leave(self, tracker: Tracker, outlook: Played) -> None:
        outlook.shown = [replace(SHARED, runners=[replace(STARTING, stage=Stage.LEAVING)])]
        await submit(tracker, 1)
        assert await codes(tracker) == ["draining"]

    async def test_a_claimed_attempt_that_waits_in_ray(
        self, tracker: Tracker, outlook: Played
    ) -> None:
        runner = ScriptedRunner(tracker, pool=REMOTE_POOL)
        await submit(tracker, 1)
        [claim] = await runner.claim()
        assert await codes(tracker) == ["runner_starting"]
        for code in ("never_fits", "no_resources"):
            runner.send(demands=[Demand("short", {"GPU": 1.0}, 1, 9.0, code)])
            await let_run()
            assert await codes(tracker) == [code]
        coming = {"gpu": 1}
        runner.send(demands=[Demand("short", {"GPU": 1}, 1, 9.0, "nodes_coming", coming=coming)])
        await let_run()
        found = await reasons(tracker)
        assert found is not None
        assert found[0]["code"] == "nodes_coming"
        assert found[0]["details"]["nodes_coming"] == coming
        asked = [{"zone": "a"}, {"zone": "!spot"}]
        needs = {"CPU": 1.0, "accelerator_type:A100": 0.001}
        runner.send(demands=[Demand("short", needs, 1, 9.0, "never_fits", asked)])
        await let_run()
        found = await reasons(tracker)
        assert found is not None
        [reason] = found
        assert reason["message"] == (
            "no node of the cluster has CPU: 1, accelerator_type: A100 and the labels "
            "zone=a or zone=!spot"
        )
        assert reason["details"]["labels"] == asked
        runner.begin([claim], NOW)
        await tracker.ticker.wait_for_tick()
        await let_run(20)
        await tracker.ticker.wait_for_tick()
        assert await reasons(tracker) is None


class TestPlacementGroup:
    """A task that is to run in a placement group."""

    @pytest.mark.parametrize(
        ("code", "bundle", "message"),
        [
            (
                "no_placement_group",
                -1,
                "the placement group trainers does not exist in the Ray namespace raytasks",
            ),
            (
                "placement_group_pending",
                0,
                "no bundle 0 of the placement group trainers has a node yet: none has free what "
                "the bundle reserves",
            ),
            ("never_fits", -1, "no bundle of the placement group trainers has CPU: 1"),
        ],
    )
    async def test_it_is_not_claimed(
        self, tracker: Tracker, outlook: Played, code: str, bundle: int, message: str
    ) -> None:
        runner = ScriptedRunner(tracker)
        demand = Demand(
            "short", {"CPU": 1.0}, 0, 9.0, code, placement_group="trainers", bundle=bundle
        )
        runner.send(capacity_by_type={"short": 0}, demands=[demand])
        await submit(tracker, 1)
        found = await reasons(tracker)
        assert found is not None
        reason = found[0]
        assert (reason["code"], reason["message"]) == (code, message)
        assert reason["fix"]
        assert reason["details"].pop("bundle", -1) == bundle
        assert reason["details"] == {
            "resources": {"CPU": 1.0}, "placement_group": "trainers", "tasks": 0,
        }  # fmt: skip
        await runner.hang_up()

    async def test_it_waits_for_a_bundle(self, tracker: Tracker, outlook: Played) -> None:
        runner = ScriptedRunner(tracker, pool=REMOTE_POOL)
        await submit(tracker, 1)
        await runner.claim()
        demand = Demand("short", {}, 1, 9.0, "no_resources", placement_group="trainers")
        runner.send(demands=[demand])
        await let_run()
        found = await reasons(tracker)
        assert found is not None
        assert found[0]["message"] == (
            "no bundle of the placement group trainers has a place free now"
        )
        await runner.hang_up()


class TestLine:
    """The tasks that come before."""

    async def test_behind_others(self, tracker: Tracker, outlook: Played) -> None:
        runner = ScriptedRunner(tracker, capacity=1, short=1, long=1)
        await submit(tracker, 1)
        await runner.claim()
        runner.send(capacity=0, capacity_by_type={"short": 0, "long": 0})
        await let_run()
        await submit(tracker, 2, 3)
        await submit(tracker, 4, task_type="long")
        await submit(tracker, 5, priority=5)
        await submit(tracker, 6, task_type="other")
        found = [await reasons(tracker, number) for number in (2, 3, 5)]
        assert all(found)
        details = [item[0]["details"] for item in found if item]
        assert [item["before"] for item in details] == [1, 2, 0]
        found_long = await reasons(tracker, 4, task_type="long")
        assert found_long is not None
        assert found_long[0]["details"]["before"] == 3  # types of one pool share the line
        assert details[0] == {
            "pool": "shared", "before": 1, "more": False, "runners": 1, "busy": 1,
        }  # fmt: skip

    async def test_more_than_are_counted(
        self, tracker: Tracker, outlook: Played, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "MAX_BEFORE", 3)
        await submit(tracker, *range(1, 6))
        last = await reasons(tracker, 5)
        assert last is not None
        assert [reason["code"] for reason in last] == ["no_runner", "behind_others"]
        assert (last[1]["details"]["before"], last[1]["details"]["more"]) == (3, True)
        assert "more than 3" in last[1]["message"]

    async def test_those_of_many_lanes_are_counted(
        self, tracker: Tracker, outlook: Played, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(waiting, "MAX_BEFORE", 3)
        for number in range(10):
            # By name, the lanes come in the opposite order.
            lane = f"lane {9 - number}"
            await submit(tracker, number, lane=lane, run_at=NOW - 10 + number)
        for number in (2, 9):
            found = await reasons(tracker, number)
            assert found is not None
            assert found[-1]["details"]["before"] == min(number, 3)

    async def test_a_task_that_will_be_claimed_has_no_reason(
        self, tracker: Tracker, outlook: Played
    ) -> None:
        runner = ScriptedRunner(tracker)
        runner.send()
        await let_run()
        assert await reasons(tracker, 1) == []

    async def test_an_earlier_replica_asks_without_a_type(self, tracker: Tracker) -> None:
        assert await tracker.read(WaitingFor(task_id(1))) is None


def test_each_code_has_a_place() -> None:
    assert len(set(waiting.STRONGEST)) == len(waiting.STRONGEST) == 15
