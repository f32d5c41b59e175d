"""`/bulk`: retry or cancel many tasks at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from raytasks.api_keys import ApiKey, Scope, digest_of
from raytasks.model.tasks import StoreUnavailable
from tests.keyring import KEYS, bearer, locked
from tests.local_service import Api

UNKNOWN = "0198c1de-0000-7000-8000-000000000000"
FIELDS = {
    "bulk_id",
    "action",
    "state",
    "filter",
    "matched",
    "looked_at",
    "skipped",
    "changed",
    "created_at",
    "finished_at",
    "held_by",
    "by",
}


async def post(api: Api, _status: int = 202, _key: str | None = None, **body: Any) -> Any:
    headers = {} if _key is None else {"Idempotency-Key": _key}
    response = await api.client.post("/bulk", json=body, headers=headers)
    assert response.status_code == _status, response.text
    return response.json()


async def done(api: Api, operation: dict[str, Any]) -> dict[str, Any]:
    """Wait until an operation is done."""
    while True:
        response = await api.client.get(f"/bulk/{operation['bulk_id']}")
        assert response.status_code == 200
        found: dict[str, Any] = response.json()
        assert found.keys() == FIELDS
        assert found["looked_at"] >= found["changed"]
        if found["state"] == "DONE":
            return found
        assert found["state"] == "RUNNING"
        await asyncio.sleep(0.01)


async def failed(api: Api, **request: Any) -> dict[str, Any]:
    task = await api.finished(await api.submit(**{"payload": {"step": "permanent"}, **request}))
    assert task["state"] == "FAILED"
    return task


@pytest.mark.parametrize("action", ["retry", "cancel", "delete"])
async def test_no_state_at_all_is_not_any_state(api: Api, action: str) -> None:
    await failed(api)
    refused = await post(api, 422, action=action, state=[], task_type="scripted")
    assert refused["errors"] == [{"pointer": "/state", "message": "name at least one, or null"}]
    assert (await post(api, 200, action="retry", state=None, dry_run=True))["matched"] == 1


async def test_failed_tasks_are_counted_and_run_again(api: Api) -> None:
    tasks = [await failed(api, tags=["t"]), await failed(api)]
    await api.finished(await api.submit())
    dead = await api.client.get("/tasks/?state=FAILED")
    assert dead.json()["total"] == 2
    assert await post(api, 200, action="retry", state="FAILED", dry_run=True) == {"matched": 2}
    response = await api.client.post("/bulk", json={"action": "retry", "state": "FAILED"})
    assert response.status_code == 202
    begun = response.json()
    assert response.headers["location"] == f"/bulk/{begun['bulk_id']}"
    given = {name: value for name, value in begun["filter"].items() if value is not None}
    assert given == {"state": "FAILED"}
    assert (begun["state"], begun["action"], begun["matched"]) == ("RUNNING", "retry", 2)
    assert (begun["looked_at"], begun["changed"], begun["finished_at"]) == (0, 0, None)
    ended = await done(api, begun)
    assert (ended["looked_at"], ended["changed"]) == (2, 2)
    assert datetime.fromisoformat(ended["finished_at"]) >= datetime.fromisoformat(
        ended["created_at"]
    )
    for task in tasks:
        again = await api.finished(task)
        while again["attempt"] < 2:  # it was asked for before the operation had come to it
            again = await api.finished(task)
        assert again["revision"] == task["revision"] + 3
    again = await post(api, action="retry", tag="t")
    assert (await done(api, again))["changed"] == 1
    listed = (await api.client.get("/bulk")).json()["operations"]
    assert [item["bulk_id"] for item in listed] == [again["bulk_id"], begun["bulk_id"]]
    assert listed[1] == ended


async def test_what_waits_and_what_runs_is_cancelled(idle_api: Api) -> None:
    tasks = [
        await idle_api.submit(task_type="noop", tags=["t"]),
        await idle_api.submit(task_type="noop", delay_seconds=60),
        await idle_api.submit(),
    ]
    ended = await done(idle_api, await post(idle_api, action="cancel", task_type="noop"))
    assert (ended["matched"], ended["looked_at"], ended["changed"]) == (2, 2, 2)
    states = [
        (await idle_api.client.get(f"/tasks/{task['task_id']}")).json()["state"] for task in tasks
    ]
    assert states == ["CANCELLED", "CANCELLED", "PENDING"]


class TestAllOfThem:
    """A retry or cancel of everything is not one keystroke."""

    async def test_it_must_be_said(self, idle_api: Api) -> None:
        await idle_api.submit()
        for body in ({"action": "cancel"}, {"action": "cancel", "state": None, "tag": None}):
            refused = await post(idle_api, 422, **body)
            [error] = refused["errors"]
            assert error["pointer"] == "/all"
            assert "created_before or error_type; or true" in error["message"]
        assert (await idle_api.client.get("/bulk")).json() == {"operations": []}
        assert await post(idle_api, 200, action="cancel", dry_run=True) == {"matched": 1}
        ended = await done(idle_api, await post(idle_api, action="cancel", all=True))
        assert ended["changed"] == 1

    async def test_not_together_with_a_filter(self, idle_api: Api) -> None:
        refused = await post(idle_api, 422, action="cancel", tag="t", all=True)
        assert refused["errors"][0]["pointer"] == "/all"

    async def test_a_retry_is_for_failed_ones_unless_all_states_are_meant(self, api: Api) -> None:
        await failed(api)
        cancelled = await api.submit(delay_seconds=60)
        await api.client.post(f"/tasks/{cancelled['task_id']}/cancel")
        assert await post(api, 200, action="retry", dry_run=True) == {"matched": 1}
        assert await post(api, 200, action="retry", state=None, dry_run=True) == {"matched": 2}
        begun = await post(api, action="retry", all=True)
        assert begun["filter"]["state"] == "FAILED"
        assert (await done(api, begun))["changed"] == 1


@pytest.mark.parametrize(
    ("body", "pointer", "fix"),
    [
        ({}, "/action", "required"),
        ({"action": "destroy"}, "/action", "'retry', 'cancel' or 'delete'"),
        ({"action": "retry", "state": "COMPLETED"}, "/state", "FAILED, CANCELLED"),
        ({"action": "retry", "state": "RUNNING"}, "/state", "FAILED, CANCELLED, or null"),
        ({"action": "delete", "state": "RUNNING"}, "/state", "COMPLETED, FAILED, CANCELLED"),
        ({"action": "cancel", "state": "FAILED"}, "/state", "PENDING, RUNNING, RETRYING"),
        ({"action": "retry", "state": "LOST"}, "/state", "'FAILED'"),
        ({"action": "retry", "task_type": "a b"}, "/task_type", "match pattern"),
        ({"action": "retry", "tag": "a b"}, "/tag", "match pattern"),
        ({"action": "retry", "tag": "t", "dry_run": "perhaps"}, "/dry_run", "boolean"),
        ({"action": "retry", "tag": "t", "limit": 5}, "/limit", "not permitted"),
    ],
)
async def test_bad_requests_name_the_field_and_the_fix(
    idle_api: Api, body: dict[str, Any], pointer: str, fix: str
) -> None:
    problem = await post(idle_api, 422, **body)
    assert pointer in [error["pointer"] for error in problem["errors"]]
    assert any(fix in error["message"] for error in problem["errors"])


async def test_keys(idle_api: Api) -> None:
    await idle_api.submit()
    first = await post(idle_api, _key="k", action="cancel", task_type="noop")
    again = await post(idle_api, 200, _key="k", action="cancel", task_type="noop")
    assert again["bulk_id"] == first["bulk_id"]
    conflict = await post(idle_api, 409, _key="k", action="cancel", task_type="scripted")
    assert first["bulk_id"] in conflict["detail"]
    bad = await post(idle_api, 422, _key="k" * 256, action="cancel", task_type="noop")
    assert bad["errors"][0]["pointer"] == "Idempotency-Key"
    assert len((await idle_api.client.get("/bulk")).json()["operations"]) == 1


@pytest.mark.parametrize("bulk_id", [UNKNOWN, "x", "%00", UNKNOWN.upper(), "a" * 5000])
async def test_an_operation_that_is_none(idle_api: Api, bulk_id: str) -> None:
    response = await idle_api.client.get(f"/bulk/{bulk_id}")
    assert response.status_code == 404
    assert "there is no bulk operation" in response.json()["detail"]


async def test_without_the_database_it_is_refused(idle_api: Api) -> None:
    idle_api.service.backend.failure = StoreUnavailable("away")
    for request in (
        idle_api.client.post("/bulk", json={"action": "retry", "tag": "t"}),
        idle_api.client.get("/bulk"),
        idle_api.client.get(f"/bulk/{UNKNOWN}"),
        idle_api.client.get("/stats"),
    ):
        response = await request
        assert response.status_code == 503
        assert response.headers["retry-after"]


class TestKeysOfCallers:
    """Scopes and namespaces."""

    @pytest.fixture
    async def api(self, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
        """A service of two teams, and of one who may only read."""
        keys = (
            ApiKey("a", frozenset(Scope), "team-a", digest_of(KEYS["a"])),
            ApiKey("b", frozenset(Scope), "team-b", digest_of(KEYS["b"])),
            ApiKey("r", frozenset({Scope.READ, Scope.SUBMIT}), "team-a", digest_of(KEYS["r"])),
        )
        async with locked(sqlite_url, tmp_path, keys) as api:
            yield api

    async def test_one_team_does_not_touch_what_the_other_has(self, api: Api) -> None:
        task = {"task_type": "noop", "payload": {}, "tags": ["t"]}
        for who in "ab":
            await api.client.post("/tasks/", json=task, headers=bearer(who))
        for body in ({"tag": "t"}, {"task_type": "noop"}, {"state": "PENDING"}, {"all": True}):
            response = await api.client.post(
                "/bulk", json={"action": "cancel", **body}, headers=bearer("b")
            )
            assert response.status_code == 202
        path = response.headers["location"]
        assert (await api.client.get(path, headers=bearer("b"))).status_code == 200
        assert (await api.client.get(path, headers=bearer("a"))).status_code == 404
        listed = {who: await api.client.get("/bulk", headers=bearer(who)) for who in "ab"}
        assert [len(listed[who].json()["operations"]) for who in "ab"] == [0, 4]
        while (await api.client.get(path, headers=bearer("b"))).json()["state"] != "DONE":
            pass
        found = {who: (await api.client.get("/stats", headers=bearer(who))).json() for who in "ab"}
        assert [found[who]["namespace"] for who in "ab"] == ["team-a", "team-b"]
        assert [found[who]["counts"]["by_state"]["CANCELLED"] for who in "ab"] == [0, 1]
        assert [found[who]["counts"]["by_state"]["PENDING"] for who in "ab"] == [1, 0]

    async def test_it_needs_the_scope_to_operate(self, api: Api) -> None:
        body = {"action": "cancel", "all": True}
        for dry_run in (True, False):
            response = await api.client.post(
                "/bulk", json={**body, "dry_run": dry_run}, headers=bearer("r")
            )
            assert response.status_code == 403
        for path in ("/bulk", "/stats"):
            assert (await api.client.get(path, headers=bearer("r"))).status_code == 200
            assert (await api.client.get(path)).status_code == 401
            elsewhere = f"{path}?namespace=team-b"
            assert (await api.client.get(elsewhere, headers=bearer("r"))).status_code == 403
