"""Two namespaces once more: events, bulk operations and statistics."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from raytasks.api_keys import ApiKey, Scope, digest_of
from tests.keyring import KEYS, bearer, locked
from tests.local_service import Api

TEAMS = tuple(
    ApiKey(who, frozenset(Scope), f"team-{who}", digest_of(KEYS[who])) for who in ("a", "b")
)
GOOD = {"task_type": "scripted", "payload": {}, "tags": ["t"]}


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A service for two teams."""
    async with locked(sqlite_url, tmp_path, TEAMS) as api:
        yield api


async def call(api: Api, who: str, method: str, path: str, body: Any = None) -> Any:
    """Send a request with a key; return the answer's JSON, or the status of a problem."""
    response = await api.client.request(method, path, json=body, headers=bearer(who))
    return response.status_code if response.status_code >= 400 else response.json()


async def submitted(api: Api, who: str) -> str:
    """Submit a task, and return its id."""
    task_id: str = (await call(api, who, "POST", "/tasks/", GOOD))["task_id"]
    return task_id


async def done(api: Api, who: str, bulk_id: str) -> dict[str, Any]:
    """Wait until a bulk operation is done."""
    async with asyncio.timeout(20):
        while True:
            found: dict[str, Any] = await call(api, who, "GET", f"/bulk/{bulk_id}")
            if found["state"] == "DONE":
                return found
            await asyncio.sleep(0.01)


async def test_events_of_elsewhere_are_not_there(api: Api) -> None:
    mine = await submitted(api, "a")
    for path in (f"/tasks/{mine}/events", f"/tasks/{mine}/events?last_event_id=0.0"):
        assert await call(api, "b", "GET", path) == 404
    assert await call(api, "b", "GET", "/tasks/events?namespace=team-a") == 403


@pytest.mark.parametrize("action", ["cancel", "retry"])
@pytest.mark.parametrize("narrow", [{}, {"tag": "t"}, {"task_type": "scripted"}])
async def test_a_bulk_operation_stays_in_its_own(
    api: Api, action: str, narrow: dict[str, Any]
) -> None:
    mine, theirs = await submitted(api, "a"), await submitted(api, "b")
    for task_id, who in ((mine, "a"), (theirs, "b")):
        if action == "retry":
            await call(api, who, "POST", f"/tasks/{task_id}/cancel")
    state = "CANCELLED" if action == "retry" else "PENDING"
    body = {"action": action, "state": state, **narrow}
    assert (await call(api, "b", "POST", "/bulk", {**body, "dry_run": True})) == {"matched": 1}
    operation = await call(api, "b", "POST", "/bulk", body)
    assert (await done(api, "b", operation["bulk_id"]))["changed"] == 1
    revisions = [
        (await call(api, who, "GET", f"/tasks/{task_id}"))["revision"]
        for who, task_id in (("a", mine), ("b", theirs))
    ]
    before = 1 if action == "retry" else 0
    assert revisions == [before, before + 1]
    assert await call(api, "a", "GET", f"/bulk/{operation['bulk_id']}") == 404
    assert await call(api, "a", "GET", "/bulk") == {"operations": []}
    assert await call(api, "b", "POST", "/bulk?namespace=team-a", body) == 403


async def test_statistics_count_ones_own(api: Api) -> None:
    for _ in range(2):
        await submitted(api, "a")
    assert (await call(api, "a", "GET", "/stats"))["counts"]["by_state"]["PENDING"] == 2
    other = await call(api, "b", "GET", "/stats")
    assert (other["namespace"], other["counts"]["by_type"]) == ("team-b", {})
    assert await call(api, "b", "GET", "/stats?namespace=team-a") == 403
