"""Pools, runners and nodes as documents, from what a tracker and its pools know."""

from dataclasses import replace
from typing import Any

import pytest

from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.time_text import rfc3339
from raytasks.pools.cluster_view import ClusterNode, FailingStart, RunnerPlace, Stage
from raytasks.protocol.messages import Report
from raytasks.protocol.queries import LiveAttempt, NodeList, NodesComing, PoolList, RunnerList
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, task_id
from tests.tracker.test_waiting import SHARED, Played
from tests.tracking import ScriptedRunner, let_run

PLACE = RunnerPlace("runner.shared.2@g", Stage.STARTING, 4.0, placed=False)


@pytest.fixture
def outlook(tracker: Tracker) -> Played:
    played = Played()
    tracker.observer.outlook = played
    return played


async def busy(tracker: Tracker, *numbers: int, **options: Any) -> ScriptedRunner:
    """Have a runner run tasks."""
    runner = ScriptedRunner(tracker, name="runner.shared.1@g", **options)
    await tracker.submit([new_task(number, timeout_seconds=60.0) for number in numbers])
    await runner.claim()
    runner.send(host="machine", pid=7, node_id="n1", worker_id="w1")
    await let_run()
    return runner


async def test_pools_count_runners_by_state(tracker: Tracker, outlook: Played) -> None:
    await busy(tracker, 1)
    leaving = replace(PLACE, name="runner.shared.3@old", stage=Stage.LEAVING)
    failing = FailingStart(3, "ImportError", NOW)
    outlook.shown = [
        replace(SHARED, runners=[PLACE, leaving], failing=failing, resources={"CPU": 1.0})
    ]
    await tracker.submit([new_task(2, task_type="gone"), new_task(3, run_at=NOW + 60)])
    [pool] = await tracker.read(PoolList())
    assert pool["states"] == {"starting": 1, "idle": 0, "busy": 1, "leaving": 1}
    assert (pool["runners"], pool["min_runners"], pool["max_runners"]) == (3, 1, 2)
    assert (pool["backlog"], pool["oldest_due_seconds"]) == (1, None)
    assert pool["failing"] == {"tries": 3, "error": "ImportError"}


async def test_runners_with_what_they_run(
    tracker: Tracker, outlook: Played, clock: FakeClock
) -> None:
    store = tracker.ticker.store
    for token in ("a", "b"):
        store.number_version(tracker.ticker.epoch, token, "g", {}, NOW)
    runner = await busy(tracker, 1)
    outlook.shown = [replace(SHARED, runners=[replace(PLACE, name=runner.name), PLACE])]
    clock.advance(30)
    known, starting = await tracker.read(RunnerList())
    assert (known["name"], known["state"], known["host"], known["pid"]) == (
        "runner.shared.1@g", "busy", "machine", 7,
    )  # fmt: skip
    assert (known["version"], known["generation"]) == (2, "g")
    assert known["since"] == known["last_seen_at"] == rfc3339(NOW)
    assert known["running"] == [
        {"task_id": task_id(1), "task_type": "short", "namespace": "default", "attempt": 1,
         "begun": True, "seconds": 30.0, "timeout_seconds": 60.0, "last_sign_at": rfc3339(NOW)}
    ]  # fmt: skip
    assert (starting["state"], starting["pid"], starting["version"]) == ("starting", None, 2)
    assert starting["since"] == rfc3339(NOW + 26)
    assert starting.keys() == known.keys()


async def test_a_report_and_a_line_are_signs_of_life(
    tracker: Tracker, outlook: Played, clock: FakeClock
) -> None:
    runner = await busy(tracker, 1)
    found = await tracker.read(LiveAttempt(task_id(1)))
    assert found == {
        "attempt": 1, "host": "machine", "pid": 7, "node_id": "n1", "worker_id": "w1",
        "last_sign_at": rfc3339(NOW),
    }  # fmt: skip
    clock.advance(50)
    runner.send(reports=[Report(task_id(1), 1, 1, fraction=0.5)])
    await let_run()
    await tracker.ticker.wait_for_tick()
    await let_run(20)
    await tracker.ticker.wait_for_tick()
    clock.advance(5)
    found = await tracker.read(LiveAttempt(task_id(1)))
    assert found is not None
    assert found["last_sign_at"] == rfc3339(NOW + 50)
    assert tracker.fleet.signs.keys() == {task_id(1)}
    assert await tracker.read(LiveAttempt(task_id(2))) is None


async def test_an_end_forgets_the_sign(tracker: Tracker, outlook: Played) -> None:
    runner = ScriptedRunner(tracker)
    await tracker.submit([new_task(1)])
    [claim] = await runner.claim()
    runner.send(reports=[Report(task_id(1), 1, 1, fraction=0.5)])
    await let_run(20)
    runner.end(claim)
    await runner.until_acknowledged(task_id(1), 1)
    assert tracker.fleet.signs == {}


async def test_where_a_remote_attempt_runs_is_not_known(tracker: Tracker, outlook: Played) -> None:
    await busy(tracker, 1, pool=REMOTE_POOL)
    found = await tracker.read(LiveAttempt(task_id(1)))
    assert found is not None
    assert (found["attempt"], found["host"], found["pid"]) == (1, None, None)


async def test_nodes_with_their_runners(tracker: Tracker, outlook: Played) -> None:
    await busy(tracker, 1)

    def node(
        node_id: str, host: str, *, alive: bool = True, head: bool = False, leaving: bool = False
    ) -> ClusterNode:
        total = {"CPU": 2.0, f"node:{host}": 1.0}
        free = {"CPU": 0.5} if alive else None
        labels = {"zone": "a"}
        return ClusterNode(node_id, host, "10.0.0.1", alive, head, total, free, labels, leaving)

    outlook.seen = [
        node("n3", "c", alive=False),
        node("n1", "b", leaving=True),
        node("n2", "z", head=True),
    ]
    found = await tracker.read(NodeList())
    assert [
        (item["node_id"], item["head"], item["alive"], item["leaving"]) for item in found
    ] == [
        ("n2", True, True, False), ("n1", False, True, True), ("n3", False, False, False),
    ]  # fmt: skip
    assert found[1]["runners"] == ["runner.shared.1@g"]
    assert found[1]["resources"] == {"CPU": {"total": 2.0, "free": 0.5}}
    assert found[2]["resources"] == {"CPU": {"total": 2.0, "free": None}}
    assert found[0]["labels"] == {"zone": "a"}


async def test_nodes_that_are_coming(tracker: Tracker, outlook: Played) -> None:
    assert await tracker.read(NodesComing()) == {}
    outlook.added = {"gpu": 2}
    assert await tracker.read(NodesComing()) == {"gpu": 2}
