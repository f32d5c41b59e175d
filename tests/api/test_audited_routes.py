"""Every route that changes something leaves a line in `/audit` and in the log: none is left out.

A new route is in one of the two tables here, or the test fails.
"""

import logging
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_endpoint_table import routes_of
from tests.keyring import bearer, locked
from tests.local_service import Api

NOOP = {"task_type": "noop", "payload": {}, "delay_seconds": 600}
DAILY = {"task_type": "noop", "cron": "0 9 * * *", "payload": {}}

UNAUDITED = {
    ("POST", "/tasks/"): "a new task has its own history; see below for one that replaces another",
    ("POST", "/tasks/batch"): "as a single submission",
    ("POST", "/outbox/nudge"): "it only makes the tracker look",
}
"""The routes without an act, and why."""

ROUTES: tuple[tuple[str, str, str, Any, str], ...] = (
    ("PATCH", "/tasks/{task_id}", "", {"priority": 1}, "change"),
    ("POST", "/tasks/{task_id}/cancel", "", None, "cancel"),
    ("POST", "/tasks/{task_id}/retry", "", None, "retry"),
    ("POST", "/bulk", "", {"action": "cancel", "task_type": "noop"}, "bulk_cancel"),
    ("DELETE", "/tasks/{task_id}", "", None, "delete"),
    ("PUT", "/limits/{name}", "smtp", {"running": 3}, "set_limit"),
    ("DELETE", "/limits/{name}", "smtp", None, "clear_limit"),
    ("PUT", "/pools/{name}", "shared", {"runners": [0, 2]}, "set_pool"),
    ("DELETE", "/pools/{name}", "shared", None, "clear_pool"),
    ("PUT", "/namespaces/{name}", "shop", {"weight": 2}, "set_namespace"),
    ("DELETE", "/namespaces/{name}", "shop", None, "clear_namespace"),
    ("PUT", "/schedules/{name}", "daily", DAILY, "set_schedule"),
    ("POST", "/schedules/{name}/pause", "daily", None, "pause_schedule"),
    ("POST", "/schedules/{name}/resume", "daily", None, "resume_schedule"),
    ("POST", "/schedules/{name}/run", "daily", None, "run_schedule"),
    ("DELETE", "/schedules/{name}", "daily", None, "clear_schedule"),
    ("POST", "/pause", "", {}, "pause"),
    ("POST", "/resume", "", {}, "resume"),
)
"""The routes with an act, in an order in which each changes something."""


async def ask(api: Api, method: str, path: str, **more: Any) -> Any:
    headers = {**bearer("a"), **more.pop("headers", {})}
    answer = await api.client.request(method, path, headers=headers, **more)
    assert answer.status_code < 300, (method, path, answer.text)
    return answer.json() if answer.content else {}


async def acts(api: Api) -> list[tuple[str, str]]:
    entries = (await ask(api, "GET", "/audit?limit=500"))["entries"]
    return [(item["action"], item["by"]) for item in entries[::-1]]


async def test_each_leaves_a_line(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raytasks.observe.acts_log")
    modules = ("tests.scripted", "tests.flow_handlers")
    async with locked(sqlite_url, tmp_path, task_modules=modules) as api:
        changing = {route for route in routes_of(api.service.app) if route[0] != "GET"}
        assert changing == {(method, path) for method, path, *_ in ROUTES} | UNAUDITED.keys()
        task = await ask(api, "POST", "/tasks/", json=NOOP)
        for number, (method, path, name, body, _) in enumerate(ROUTES):
            filled = path.format(name=name, task_id=task["task_id"])
            headers = {"If-Match": '"0"'} if method == "PATCH" else {}
            done = await ask(api, method, filled, json=body, headers=headers)
            while "bulk_id" in done and done["state"] != "DONE":
                done = await ask(api, "GET", f"/bulk/{done['bulk_id']}")
            assert await acts(api) == [(act, "a") for *_, act in ROUTES[: number + 1]]
    logged = [record.getMessage() for record in caplog.records]
    assert [line.partition(" of ")[0] for line in logged] == [act for *_, act in ROUTES]
    assert all(line.endswith(" by a") for line in logged)


async def test_a_submission_that_replaces_a_task_leaves_a_line(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raytasks.observe.acts_log")
    unique = {"key": "k", "on_conflict": "replace"}
    async with locked(sqlite_url, tmp_path) as api:
        task = await ask(api, "POST", "/tasks/", json={**NOOP, "unique": unique})
        assert await acts(api) == []
        await ask(api, "POST", "/tasks/", json={**NOOP, "unique": unique})
        await ask(api, "POST", "/tasks/batch", json={"tasks": [NOOP, {**NOOP, "unique": unique}]})
        assert await acts(api) == [("replace", "a")] * 2
        [entry, _] = (await ask(api, "GET", "/audit"))["entries"]
        assert (entry["target"], entry["namespace"]) == (task["task_id"], "default")
        shown = await ask(api, "GET", f"/tasks/{task['task_id']}")
        assert [(act["action"], act["by"]) for act in shown["actions"]] == [("replace", "a")] * 2
    logged = [record.getMessage() for record in caplog.records]
    assert logged == [f"replace of {task['task_id']} by a"] * 2
