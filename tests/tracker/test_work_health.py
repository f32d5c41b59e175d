"""The reasons in `/health` that work stands: each when it happens, and not before."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from raytasks.model.handler_info import REMOTE_POOL
from raytasks.pools.cluster_view import PoolView, RunnerPlace, Stage
from raytasks.protocol.messages import Claim, Demand
from raytasks.protocol.queries import Health, Readiness
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from raytasks.tracker.disks import MIN_BYTES, DiskWatch, disk_reasons
from raytasks.tracker.on_ray.cluster_outlook import places_of
from raytasks.tracker.work_health import BY_RAY_SECONDS, UNPLACED_SECONDS
from tests.making import new_task
from tests.tracker.test_waiting import SHARED, Played, node
from tests.tracking import FaultyStore, ScriptedRunner, let_run

WAIT = 300.0
STALL = 600.0
"""The thresholds by default."""


@dataclass
class Scene:
    """A tracker with its clock and surroundings, and a runner of the shared pool."""

    tracker: Tracker
    clock: FakeClock
    outlook: Played = field(default_factory=Played)

    def __post_init__(self) -> None:
        self.tracker.observer.outlook = self.outlook
        self.runner = ScriptedRunner(self.tracker, short=256, long=256)

    async def submit(self, *numbers: int, **changes: Any) -> None:
        await self.tracker.submit([new_task(number, **changes) for number in numbers])

    async def full(self, *numbers: int) -> list[Claim]:
        """Have the runner take these tasks and nothing more."""
        await self.submit(*numbers)
        claims = await self.runner.claim()
        await self.call(capacity=0, capacity_by_type={"short": 0, "long": 0})
        return claims

    async def call(self, **changes: Any) -> None:
        self.runner.send(**changes)
        await let_run()

    async def reasons(self) -> dict[str, dict[str, Any]]:
        """Return the reasons by code."""
        report = await self.tracker.read(Health())
        for reason in report["reasons"]:
            assert reason.keys() >= {"code", "message", "fix", "since", "count"}
        return {reason["code"]: reason for reason in report["reasons"]}


@pytest.fixture
def scene(tracker: Tracker, clock: FakeClock) -> Scene:
    return Scene(tracker, clock)


async def test_all_is_well(scene: Scene) -> None:
    await scene.call()
    assert await scene.reasons() == {}
    assert await scene.tracker.read(Readiness()) == []


class TestWaits:
    async def test_the_oldest_due_task_waits_too_long(self, scene: Scene) -> None:
        await scene.full(1)
        await scene.submit(2, 3)
        scene.clock.advance(WAIT - 10)
        assert "tasks_wait" not in await scene.reasons()
        scene.clock.advance(20)
        reason = (await scene.reasons())["tasks_wait"]
        assert reason["count"] == 2
        assert "shared" in reason["message"]
        assert scene.clock() - reason["since"] == pytest.approx(WAIT + 10)

    async def test_not_while_paused(self, scene: Scene) -> None:
        await scene.full(1)
        await scene.submit(2, 3)
        await scene.tracker.pause()
        began = scene.clock()
        scene.clock.advance(WAIT + 10)
        reasons = await scene.reasons()
        assert reasons.keys() == {"paused"}
        assert (reasons["paused"]["since"], reasons["paused"]["count"]) == (began, 2)

    async def test_a_threshold_of_its_own(self, scene: Scene) -> None:
        scene.tracker.observer.wait_seconds = 5.0
        await scene.full(1)
        await scene.submit(2)
        scene.clock.advance(6)
        assert "tasks_wait" in await scene.reasons()

    async def test_no_runner_takes_the_type(self, scene: Scene) -> None:
        await scene.call(capacity_by_type={"short": 256})
        await scene.submit(1, 2, task_type="long")
        assert await scene.reasons() == {}
        scene.clock.advance(31)
        reason = (await scene.reasons())["no_runner"]
        assert (reason["count"], "long" in reason["message"]) == (2, True)

    async def test_no_runner_at_all(self, scene: Scene) -> None:
        assert (await scene.reasons())["no_runner"]["count"] == 0
        scene.outlook.shown = [replace(SHARED, min_runners=0)]  # none is wanted
        assert await scene.reasons() == {}


class TestStalled:
    async def test_all_runners_are_silent(self, scene: Scene) -> None:
        [claim] = await scene.full(1)
        scene.clock.advance(STALL - 10)
        assert "pool_stalled" not in await scene.reasons()
        scene.clock.advance(20)
        reason = (await scene.reasons())["pool_stalled"]
        assert claim.task_id in reason["message"]
        assert reason["count"] == 1
        assert scene.clock() - reason["since"] == pytest.approx(STALL + 10)

    async def test_a_report_is_a_sign_of_life(self, scene: Scene) -> None:
        [claim] = await scene.full(1)
        scene.clock.advance(STALL + 10)
        scene.runner.begin([claim], scene.clock())  # any report
        await let_run()
        assert "pool_stalled" not in await scene.reasons()

    async def test_one_idle_runner_is_enough(self, scene: Scene) -> None:
        await scene.full(1)
        other = ScriptedRunner(scene.tracker, "r2", short=256)
        other.send()
        await let_run()
        scene.clock.advance(STALL + 10)
        assert "pool_stalled" not in await scene.reasons()

    async def test_a_remote_runner_with_room_does_not_stand(self, scene: Scene) -> None:
        scene.runner = ScriptedRunner(scene.tracker, pool=REMOTE_POOL)
        await scene.submit(1)
        [claim] = await scene.runner.claim()
        scene.runner.begin([claim], scene.clock())
        await let_run(20)
        scene.clock.advance(STALL + 10)
        assert "pool_stalled" not in await scene.reasons()


class TestDemand:
    async def test_no_node_can_hold_it(self, scene: Scene) -> None:
        await scene.call(demands=[Demand("short", {"GPU": 1.0}, 3, 40.0, "never_fits")])
        reason = (await scene.reasons())["never_fits"]
        assert (reason["count"], scene.clock() - reason["since"]) == (3, 40.0)
        assert "GPU: 1" in reason["message"]

    async def test_an_autoscaler_has_a_moment_to_add_a_node(self, scene: Scene) -> None:
        for seconds, told in ((UNPLACED_SECONDS - 1, False), (UNPLACED_SECONDS, True)):
            await scene.call(demands=[Demand("short", {"GPU": 1.0}, 1, seconds, "never_fits")])
            assert ("never_fits" in await scene.reasons()) is told

    async def test_nodes_that_take_long_to_come(self, scene: Scene) -> None:
        for seconds, told in ((WAIT - 1, []), (WAIT + 1, ["no_resources"])):
            await scene.call(demands=[Demand("short", {"GPU": 1.0}, 1, seconds, "nodes_coming")])
            assert list(await scene.reasons()) == told

    async def test_long_without_resources(self, scene: Scene) -> None:
        for seconds, told in ((WAIT - 1, False), (WAIT + 1, True)):
            await scene.call(demands=[Demand("short", {"CPU": 4.0}, 1, seconds, "no_resources")])
            assert ("no_resources" in await scene.reasons()) is told

    @pytest.mark.parametrize(
        ("code", "is_told_soon", "words"),
        [
            ("no_placement_group", True, "the placement group trainers does not exist in the Ray"),
            ("placement_group_pending", False, "no bundle of the placement group trainers has a n"),
            ("never_fits", True, "CPU: 1, which no bundle of the placement group trainers has"),
        ],
    )
    async def test_tasks_that_are_not_claimed_for_want_of_a_group(
        self, scene: Scene, code: str, is_told_soon: bool, words: str
    ) -> None:
        lacking = Demand("short", {"CPU": 1.0}, 0, 9 * WAIT, code, placement_group="trainers")
        unable = {"capacity_by_type": {"short": 0}, "demands": [lacking]}
        await scene.call(**unable)
        assert await scene.reasons() == {}  # nothing waits for the group
        await scene.submit(1, 2)
        waited = 0.0
        for seconds, told in ((WAIT - 10, is_told_soon), (WAIT + 10, True)):
            scene.clock.advance(seconds - waited)
            waited = seconds
            await scene.call(**unable)
            assert (code in await scene.reasons()) is told
        reason = (await scene.reasons())[code]
        assert words in reason["message"]
        assert "the tasks of short" in reason["message"]
        assert reason["count"] == 2
        assert scene.clock() - reason["since"] == pytest.approx(waited, abs=0.5)

    async def test_long_without_a_free_bundle(self, scene: Scene) -> None:
        full = Demand(
            "short", {"CPU": 1.0}, 1, WAIT + 1, "no_resources",
            placement_group="trainers", bundle=0,
        )  # fmt: skip
        await scene.call(demands=[full])
        message = (await scene.reasons())["no_resources"]["message"]
        assert message.endswith(
            "waited long for CPU: 1, which no bundle 0 of the placement group trainers has free"
        )

    async def test_a_runner_that_has_no_place(self, scene: Scene) -> None:
        await scene.call()
        needs = {"GPU": 2.0}
        place = RunnerPlace("runner.a.1@g", Stage.STARTING, 11.0, placed=False, resources=needs)
        scene.outlook.shown = [SHARED, PoolView("class.a", ("a",), 1, 1, needs, [place])]
        assert await scene.reasons() == {}  # the nodes are not known
        scene.outlook.seen = [node(CPU=4.0)]
        assert "class.a" in (await scene.reasons())["never_fits"]["message"]
        scene.outlook.seen = [node(CPU=4.0, GPU=2.0)]
        assert await scene.reasons() == {}
        place = replace(place, selectors=[{"zone": "a"}])
        scene.outlook.shown = [SHARED, PoolView("class.a", ("a",), 1, 1, needs, [place])]
        assert "labels zone=a" in (await scene.reasons())["never_fits"]["message"]
        scene.outlook.seen = [replace(node(CPU=4.0, GPU=2.0), labels={"zone": "a"})]
        assert await scene.reasons() == {}


class TestService:
    async def test_the_database_is_away(self, scene: Scene, faulty_store: FaultyStore) -> None:
        await scene.call()
        faulty_store.away = True
        submitting = scene.submit(1)
        with pytest.raises(Exception, match="away"):
            await submitting
        assert (await scene.reasons()).keys() == {"database_away"}
        [reason] = await scene.tracker.read(Readiness())
        assert reason["code"] == "database_away"
        faulty_store.away = False
        await scene.submit(2)
        assert await scene.tracker.read(Readiness()) == []

    async def test_before_the_database_is_taken_over(self, faulty_store: FaultyStore) -> None:
        tracker = Tracker(faulty_store)
        [reason] = await tracker.read(Readiness())
        assert reason["code"] == "tracker_starting"
        await tracker.close()

    async def test_nothing_is_committed(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await scene.call()
        scene.tracker.ticker.lease_seconds = 15.0
        access = scene.tracker.ticker.access
        access.committed_at -= 40.0
        long_ago = access.committed_at  # also for a commit that is on its way
        monkeypatch.setattr(access, "_monotonic", lambda: long_ago)
        assert (await scene.reasons())["no_commit"]["since"] == pytest.approx(scene.clock() - 40.0)

    async def test_the_backlog_is_full(self, scene: Scene) -> None:
        await scene.full(1)
        scene.tracker.max_backlog = 2
        await scene.submit(2, 3)
        reason = (await scene.reasons())["backlog_full"]
        assert reason["count"] == 2
        assert await scene.tracker.read(Readiness()) == []  # a 429 is an answer

    async def test_a_command_is_set_aside(self, scene: Scene) -> None:
        await scene.call()
        bad = scene.submit(1, payload="\ud800")
        with pytest.raises(Exception, match="cannot be stored"):
            await bad
        reason = (await scene.reasons())["set_aside"]
        assert "submission of task" in reason["message"]
        assert "UnicodeEncodeError" in reason["message"]

    async def test_calls_by_ray_where_a_socket_is(self, scene: Scene) -> None:
        scene.tracker.observer.socket_node = lambda: "here"
        await scene.call(node_id="here")
        scene.tracker.fleet.runners["r1"].way = "ray"
        assert await scene.reasons() == {}
        await scene.tracker.ticker.wait_for_tick()  # a write on its way would seem to take long
        scene.clock.advance(BY_RAY_SECONDS + 1)
        assert (await scene.reasons())["calls_by_ray"]["count"] == 1
        scene.tracker.observer.socket_node = lambda: "elsewhere"
        assert await scene.reasons() == {}


class TestDisks:
    """A disk that is nearly full, by a usage that the test makes."""

    @pytest.mark.parametrize(
        ("total", "free", "told"),
        [
            (100 * 2**30, 50 * 2**30, False),
            (100 * 2**30, 4 * 2**30, True),
            (4 * 2**30, 2**30, False),
            (4 * 2**30, MIN_BYTES - 1, True),
        ],
    )
    def test_how_much_is_left(self, tmp_path: Path, total: int, free: int, told: bool) -> None:
        places = {"the database": tmp_path / "not" / "there.db", "the artifacts": tmp_path}
        found = disk_reasons(places, lambda _: (total, total - free, free))
        assert [reason["code"] for reason in found] == ["disk_nearly_full"] * told
        for reason in found:
            assert "the database and the artifacts" in reason["message"]
            assert f"{free / total:.1%}" in reason["message"]
            assert str(tmp_path) not in reason["message"]

    async def test_it_is_looked_at_now_and_then(self, tmp_path: Path) -> None:
        looks: list[Path] = []

        def usage(folder: Path) -> tuple[int, int, int]:
            looks.append(folder)
            return 10**12, 10**12 - 1, 1

        watch = DiskWatch({"the database": tmp_path}, usage)
        for _ in range(3):
            assert len(await watch.reasons(10.0)) == 1
        assert looks == [tmp_path]

    def test_a_disk_that_cannot_be_looked_at(self, tmp_path: Path) -> None:
        def usage(_: Path) -> tuple[int, int, int]:
            raise OSError("no such device")

        assert disk_reasons({"the database": tmp_path}, usage) == []
        assert disk_reasons({"the database": tmp_path}) == []  # this machine's, as it is


def test_which_disks_are_looked_at(tmp_path: Path) -> None:
    from raytasks.settings import Settings

    file = tmp_path / "a b%.db"
    url = f"sqlite:///{tmp_path}/a b%25.db"
    settings = Settings(_env_file=None, database_url=url, artifacts_url=str(tmp_path / "files"))
    assert settings.sqlite_path == file
    assert places_of(settings)["the database"] == file
    assert places_of(settings)["the artifacts"] == tmp_path / "files"
    away = Settings(
        _env_file=None, database_url="postgresql://host/db", artifacts_url="s3://bucket/x"
    )
    assert places_of(away).keys() == {"temporary files"}
