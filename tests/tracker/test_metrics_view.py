"""The metrics from the tracker's memory: runners, places of types, a tracker that starts."""

import pytest

from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.pools.cluster_view import ClusterNode, PoolView
from raytasks.protocol.commands import PauseWork
from raytasks.protocol.queries import Metrics
from raytasks.store.store import Store
from raytasks.testing import FakeClock
from raytasks.tracker import histograms, metrics_view
from raytasks.tracker.core import Tracker
from raytasks.tracker.metrics_view import nodes_by_state, with_starting
from tests.making import NOW, new_task
from tests.tracker.test_waiting import Played
from tests.tracking import ScriptedRunner, let_run


async def test_runners_are_counted_by_pool_and_state(tracker: Tracker) -> None:
    await tracker.submit([new_task(1)])
    busy = ScriptedRunner(tracker, "busy")
    await busy.claim()
    for name in ("idle", "leaving"):
        ScriptedRunner(tracker, name).send(leaving=name == "leaving")
    ScriptedRunner(tracker, "loading", pool="other").send(capacity_by_type={})
    await let_run()
    found = (await tracker.read(Metrics())).runners
    assert [item for item in found if item[2]] == [
        ("other", "starting", 1),
        ("shared", "idle", 1),
        ("shared", "busy", 1),
        ("shared", "leaving", 1),
    ]
    assert ("other", "starting", 3) in with_starting(found, {"other": 2, "new": 1})
    assert ("new", "idle", 0) in with_starting(found, {"new": 1})


async def test_ready_tasks_are_those_that_wait_for_a_runner_alone(
    tracker: Tracker, clock: FakeClock
) -> None:
    pools = (PoolView("shared", ("short", "long")), PoolView("own", ("held", "paused")))
    tracker.observer.outlook = Played(shown=pools)
    limits = (Limit("one", running=1),)
    tracker.set_handlers([HandlerInfo("held", HandlerKind.FUNCTION, (0, 1), limits=limits)])
    clock.advance(1)
    tracker.ticker.wake.set()
    await tracker.execute(PauseWork(task_type="paused"))
    names = ("short", "short", "long", "held", "held", "paused", "no_handler")
    for number, name in enumerate(names):
        await tracker.submit([new_task(number, task_type=name)])
    await tracker.submit([new_task(7, task_type="short", run_at=NOW + 60)])
    assert (await tracker.read(Metrics())).ready == {"shared": 3, "own": 2}
    runner = ScriptedRunner(tracker, pool="own", held=2)
    await runner.claim()
    assert (await tracker.read(Metrics())).ready == {"shared": 3, "own": 0}
    await runner.hang_up()


def test_nodes_are_counted_by_state() -> None:
    def node(*, alive: bool, leaving: bool = False) -> ClusterNode:
        return ClusterNode("n1", "host", "10.0.0.1", alive, False, {}, {}, {}, leaving)

    nodes = [node(alive=True), node(alive=True), node(alive=True, leaving=True), node(alive=False)]
    assert nodes_by_state(nodes) == {"alive": 2, "leaving": 1}
    assert nodes_by_state([]) == {"alive": 0, "leaving": 0}


async def test_types_without_a_place_are_summed_up(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(histograms, "MAX_PAIRS", 2)
    for number, name in enumerate("abccd"):
        await tracker.submit([new_task(number, task_type=name)])
    data = await tracker.read(Metrics())
    submitted = {(space, kind): n for space, kind, name, n in data.totals if name == "submitted"}
    assert submitted == {("default", "a"): 1, ("default", "b"): 1, ("other", "other"): 3}
    pending = {(space, kind): n for space, kind, state, n in data.tasks if state == "PENDING"}
    assert pending == submitted


async def test_a_tracker_without_its_database_shows_no_counters(
    empty_store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_view, "_START_SECONDS", 0.0)
    tracker = Tracker(empty_store, clock=clock)
    data = await tracker.read(Metrics())
    assert not data.loaded
    assert [*data.totals, *data.tasks, *data.durations] == []
    await tracker.close()


@pytest.fixture
def empty_store(sqlite_url: str) -> Store:
    """A store that no tracker has taken over."""
    return Store(sqlite_url)
