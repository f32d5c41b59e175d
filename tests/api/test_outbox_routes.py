"""The outbox over HTTP: its state, the nudge, and tasks that are committed and not taken yet."""

import asyncio
import time
from datetime import datetime
from typing import Any

import pytest

from raytasks.tracker import outbox_reader
from tests.local_service import Api, call
from tests.making import task_id
from tests.outbox_tools import outbox_values, write_rows
from tests.tracking import PATIENCE

NEVER = 3600.0


@pytest.fixture
def _unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks without a nudge."""
    monkeypatch.setattr(outbox_reader, "IDLE_SECONDS", NEVER)


def scripted(number: int, **changes: Any) -> dict[str, Any]:
    return outbox_values(number, task_type="scripted", payload={"value": 7}, **changes)


async def outbox_of(api: Api, **expected: Any) -> dict[str, Any]:
    """Return the state of the outbox, as soon as it is as expected."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = await call(api, "GET", "/outbox")
            if expected.items() <= found.items():
                return found
            await asyncio.sleep(0.01)


@pytest.mark.usefixtures("_unread")
async def test_a_committed_task_is_found_before_it_is_taken(idle_api: Api) -> None:
    await asyncio.sleep(0.1)  # the reader has looked, and waits for a nudge
    write_rows(
        idle_api.service.tracker.ticker.store,
        scripted(1, priority=5, tags=["a"], namespace="team-a"),
        outbox_values(2, document="{"),
    )
    await call(idle_api, "GET", f"/tasks/{task_id(1)}", status=404)
    found = await call(idle_api, "GET", f"/tasks/{task_id(1)}?namespace=team-a")
    assert (found["state"], found["attempt"], found["task_type"]) == ("PENDING", 0, "scripted")
    assert (found["payload"], found["priority"], found["tags"]) == ({"value": 7}, 5, ["a"])
    [reason] = found["waiting_for"]
    assert reason["code"] == "in_outbox"
    unread = await call(idle_api, "GET", f"/tasks/{task_id(2)}")
    assert (unread["task_type"], unread["payload"]) == ("unreadable", None)
    await call(idle_api, "GET", f"/tasks/{task_id(3)}", status=404)
    await call(idle_api, "POST", "/outbox/nudge", status=202)
    async with asyncio.timeout(PATIENCE):
        while "in_outbox" in [reason["code"] for reason in found["waiting_for"]]:
            await asyncio.sleep(0.01)
            found = await call(idle_api, "GET", f"/tasks/{task_id(1)}?namespace=team-a")
    await outbox_of(idle_api, rows=0, held_by=None, set_aside=0)


@pytest.mark.usefixtures("_unread")
async def test_a_wait_begins_before_the_task_is_taken(api: Api) -> None:
    await asyncio.sleep(0.1)
    write_rows(api.service.tracker.ticker.store, scripted(1))
    found = await call(api, "GET", f"/tasks/{task_id(1)}?wait=30")
    assert (found["state"], found["attempt"]) == ("COMPLETED", 1)


async def test_a_wait_ends_in_time(idle_api: Api) -> None:
    for _ in range(3):
        await idle_api.submit()
    write_rows(idle_api.service.tracker.ticker.store, scripted(1))  # the backlog is full
    found = await call(idle_api, "GET", f"/tasks/{task_id(1)}?wait=0.2")
    assert [reason["code"] for reason in found["waiting_for"]] == ["in_outbox"]


async def test_what_waits_is_told(idle_api: Api) -> None:
    for _ in range(3):
        await idle_api.submit()
    write_rows(idle_api.service.tracker.ticker.store, scripted(1), scripted(2, at=5.0))
    found = await outbox_of(idle_api, rows=2, held_by="backlog_full")
    assert found["oldest_seconds"] > 10
    health = await call(idle_api, "GET", "/health")
    [reason] = [item for item in health["reasons"] if item["code"] == "outbox_stands"]
    assert reason["count"] == 2
    assert "RAYTASKS_MAX_BACKLOG" in reason["message"]
    text = (await idle_api.client.get("/metrics")).text
    assert "\nraytasks_outbox_rows 2.0\n" in text
    assert "\nraytasks_outbox_set_aside 0.0\n" in text


async def test_a_refused_task_is_shown_with_its_events(idle_api: Api) -> None:
    write_rows(idle_api.service.tracker.ticker.store, scripted(1, priority="high"))
    await call(idle_api, "POST", "/outbox/nudge", status=202)
    async with asyncio.timeout(PATIENCE):
        while (await call(idle_api, "GET", f"/tasks/{task_id(1)}"))["state"] == "PENDING":  # noqa: ASYNC110 - it has no signal for HTTP
            await asyncio.sleep(0.01)
    found = await call(idle_api, "GET", f"/tasks/{task_id(1)}")
    assert (found["state"], found["attempts"]) == ("FAILED", [])
    assert found["error"]["type"] == "InvalidSubmission"
    assert "/priority" in found["error"]["message"]
    events = await idle_api.client.get(f"/tasks/{task_id(1)}/events", params={"follow": "false"})
    assert '"FAILED"' in events.text
    groups = await call(idle_api, "GET", "/errors")
    assert groups["groups"][0]["error_type"] == "InvalidSubmission"
    retried = await call(idle_api, "POST", f"/tasks/{task_id(1)}/retry", status=202)
    assert retried["state"] == "PENDING"


@pytest.mark.usefixtures("_unread")
@pytest.mark.parametrize("seconds", [600.0, 1e12, float("inf"), float("-inf"), -1e300])
async def test_a_committed_task_has_a_time_that_can_be(idle_api: Api, seconds: float) -> None:
    await asyncio.sleep(0.1)
    begun_at = time.time()
    write_rows(idle_api.service.tracker.ticker.store, scripted(1, at=begun_at + seconds))
    found = await call(idle_api, "GET", f"/tasks/{task_id(1)}")
    assert [reason["code"] for reason in found["waiting_for"]] == ["in_outbox"]
    created_at = datetime.fromisoformat(found["created_at"]).timestamp()
    assert begun_at - 1.0 <= created_at <= time.time()
