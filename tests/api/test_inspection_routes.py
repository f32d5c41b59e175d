"""`/pools`, `/runners`, `/nodes`, `/versions`, and the live parts of a task."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from raytasks.api import live_view
from raytasks.api.inspection_routes import NodesView, RunnersView, VersionsView
from raytasks.api.live_view import MAX_ASKED, LiveView
from raytasks.api.pool_routes import PoolsView
from raytasks.protocol.queries import Query, TaskDetail
from raytasks.store.version_rows import VersionState
from tests.local_service import Api

VIEWS: dict[str, type[BaseModel]] = {
    "pools": PoolsView,
    "runners": RunnersView,
    "nodes": NodesView,
    "versions": VersionsView,
}


async def asked(api: Api, name: str) -> list[dict[str, Any]]:
    """Return what an endpoint lists. It is what its document says, and no more."""
    response = await api.client.get(f"/{name}")
    assert response.status_code == 200, response.text
    document = response.json()
    shown = VIEWS[name].model_validate(document).model_dump(mode="json")
    assert [item.keys() for item in shown[name]] == [item.keys() for item in document[name]]
    found: list[dict[str, Any]] = document[name]
    return found


async def test_a_busy_runner(api: Api, tmp_path: Path) -> None:
    file = tmp_path / "go"
    task = await api.submit(payload={"step": "wait_file", "file": str(file), "lines": 1})
    await api.begun(task)
    waits = await api.submit()
    [runner] = await asked(api, "runners")
    assert (runner["name"], runner["pool"], runner["state"]) == ("runner", "shared", "busy")
    held = {item["task_id"]: item for item in runner["running"]}[task["task_id"]]
    assert (held["attempt"], held["task_type"], held["begun"]) == (1, "scripted", True)
    assert runner["running_count"] == len(runner["running"]) >= 1
    pools = {item["name"]: item for item in await asked(api, "pools")}
    pool = pools["shared"]
    assert pools["remote"]["runners"] == 0
    assert (pool["name"], pool["runners"], pool["states"]["busy"]) == ("shared", 1, 1)
    assert "scripted" in pool["task_types"]
    assert pool["backlog"] in (0, 1)
    found = (await api.client.get(f"/tasks/{task['task_id']}")).json()
    assert found["waiting_for"] is None
    [attempt] = found["attempts"]
    assert attempt["last_sign_at"] >= attempt["started_at"]
    assert (attempt["node_id"], attempt["host"], attempt["pid"]) == ("node", "machine", 42)
    assert (runner["node_id"], runner["host"], runner["pid"]) == ("node", "machine", 42)
    file.touch()
    assert (await api.finished(waits))["waiting_for"] is None
    [ended] = (await api.finished(task))["attempts"]
    assert ended["last_sign_at"] is None


async def test_without_a_runner(idle_api: Api) -> None:
    task = await idle_api.submit()
    assert {pool["runners"] for pool in await asked(idle_api, "pools")} == {0}
    assert await asked(idle_api, "runners") == []
    assert await asked(idle_api, "nodes") == []
    assert (await idle_api.client.get("/nodes")).json()["nodes_coming"] == {}
    assert await asked(idle_api, "versions") == []
    found = (await idle_api.client.get(f"/tasks/{task['task_id']}")).json()
    assert [reason["code"] for reason in found["waiting_for"]] == ["no_runner"]


async def test_each_version_tried_is_listed(idle_api: Api) -> None:
    store, epoch = idle_api.service.tracker.ticker.store, idle_api.service.tracker.ticker.epoch
    store.number_version(epoch, "t1", "g1", {"scripted": "1", "noop": "1"}, 1000.0)
    store.judge_version(epoch, "t1", VersionState.PASSED, None)
    store.number_version(epoch, "t2", "g2", {"scripted": "2", "train": "1"}, 2000.0)
    store.judge_version(epoch, "t2", VersionState.FAILED, "no module named torch")
    idle_api.service.tracker.observer.in_force = lambda: 1
    newest, first = await asked(idle_api, "versions")
    assert (newest["number"], newest["state"], newest["error"]) == (
        2, "failed", "no module named torch",
    )  # fmt: skip
    assert (first["in_force"], newest["in_force"]) == (True, False)
    assert "scripted" in first["task_types"]
    assert newest["task_types"] == ["scripted", "train"]
    assert newest["changes"] == {
        "since": 1, "added": ["train"], "gone": ["noop"], "changed": ["scripted"],
    }  # fmt: skip
    assert first["changes"] is None


async def test_few_are_asked_at_a_time(idle_api: Api) -> None:
    task = await idle_api.submit()
    found = await idle_api.service.backend.read(TaskDetail(task["task_id"]))
    assert found is not None
    free = asyncio.Event()

    class Slow:
        asked = 0

        async def read(self, _query: Query[Any]) -> Any:
            self.asked += 1
            await free.wait()
            return []

    slow = Slow()
    view = LiveView(slow)
    looks = [asyncio.ensure_future(view.look(found[0])) for _ in range(MAX_ASKED + 5)]
    await asyncio.sleep(0.01)
    free.set()
    answers = await asyncio.gather(*looks)
    assert slow.asked == MAX_ASKED
    assert [answer[0] for answer in answers].count(None) == 5


async def test_a_tracker_that_does_not_answer_is_not_waited_for(
    idle_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_view, "MAX_SECONDS", 0.2)
    task = await idle_api.submit()
    found = await idle_api.service.backend.read(TaskDetail(task["task_id"]))
    assert found is not None

    class Mute:
        async def read(self, _query: Query[Any]) -> Any:
            await asyncio.Event().wait()

    began = asyncio.get_running_loop().time()
    assert await LiveView(Mute()).look(found[0]) == (None, None)
    assert asyncio.get_running_loop().time() - began < 2
