"""The clients against the real API, through real sockets."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from raytasks.api_keys import ApiKey, Scope, digest_of
from raytasks.client import (
    ApiError,
    AsyncClient,
    Client,
    EndEvent,
    LogEvent,
    StateEvent,
    TaskFailed,
    WaitTimeout,
)
from tests.keyring import KEYS
from tests.local_service import LocalService, served


@pytest.fixture
def url(sqlite_url: str, tmp_path: Path) -> Iterator[str]:
    """A service that runs tasks."""
    with served(LocalService(sqlite_url, tmp_path)) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    """A client of it."""
    with Client(url) as client:
        yield client


def test_submit_run_get_and_list(client: Client) -> None:
    done = client.run("scripted", {"value": 7}, tags=["live"])
    assert (done["state"], done["result"]["value"]) == ("COMPLETED", 7)
    assert client.get(done["task_id"])["attempts"][0]["outcome"] == "succeeded"
    with pytest.raises(TaskFailed):
        client.run("scripted", {"step": "permanent"})
    many = client.submit_many(
        [{"task_type": "noop", "payload": {}, "tags": ["live"]} for _ in range(30)],
        idempotency_key="k",
    )
    again = client.submit_many(
        [{"task_type": "noop", "payload": {}, "tags": ["live"]} for _ in range(30)],
        idempotency_key="k",
    )
    assert [task["task_id"] for task in many] == [task["task_id"] for task in again]
    assert len(list(client.tasks(tag="live"))) == 31
    assert client.list(state="FAILED")["total"] == 1
    assert client.health()["status"] == "ok"
    assert "scripted" in {item["task_type"] for item in client.task_types()["task_types"]}


def test_waiting_has_an_end(client: Client) -> None:
    task = client.submit("noop", {}, delay_seconds=600)
    with pytest.raises(WaitTimeout):
        client.wait(task["task_id"], timeout_seconds=0.1)
    assert client.cancel(task["task_id"])["state"] == "CANCELLED"
    assert client.retry(task["task_id"])["state"] == "PENDING"
    with pytest.raises(ApiError) as caught:
        client.submit("no_such_type", {})
    assert caught.value.errors[0]["pointer"] == "/task_type"


def test_events_of_a_task_are_seen_from_the_first_to_the_last(client: Client) -> None:
    task = client.submit("scripted", {"step": "progress", "fail_first": 1})
    events = list(client.events(task["task_id"]))
    states = [event.data["state"] for event in events if isinstance(event, StateEvent)]
    assert states == ["PENDING", "RUNNING", "RETRYING", "RUNNING", "COMPLETED"]
    assert isinstance(events[-1], EndEvent)
    assert not [event for event in events if isinstance(event, LogEvent)]
    third = [event for event in events if isinstance(event, StateEvent)][2]
    rest = list(client.events(task["task_id"], last_event_id=third.id))
    assert [event.data["state"] for event in rest if isinstance(event, StateEvent)] == states[3:]


def test_bulk_and_stats(client: Client) -> None:
    tasks = client.submit_many([{"task_type": "noop", "payload": {}, "delay_seconds": 600}] * 40)
    assert client.bulk_cancel(task_type="noop", dry_run=True) == {"matched": 40}
    operation = client.bulk_cancel(task_type="noop")
    done = client.bulk_wait(operation["bulk_id"], timeout_seconds=30)
    assert (done["state"], done["changed"]) == ("DONE", 40)
    assert {client.get(task["task_id"])["state"] for task in tasks[:3]} == {"CANCELLED"}
    assert [item["bulk_id"] for item in client.bulks()] == [operation["bulk_id"]]
    assert client.stats()["counts"]["by_state"]["CANCELLED"] == 40


async def test_the_async_client_does_the_same(url: str) -> None:
    async with AsyncClient(url) as client:
        tasks = await asyncio.gather(*[client.submit("scripted", {"value": n}) for n in range(20)])
        done = await asyncio.gather(*[client.wait(task["task_id"]) for task in tasks])
        assert [task["result"]["value"] for task in done] == list(range(20))
        async with asyncio.timeout(20):
            seen = [event async for event in client.events(tasks[0]["task_id"])]
        assert isinstance(seen[-1], EndEvent)


def test_keys(sqlite_url: str, tmp_path: Path) -> None:
    keys = (
        ApiKey("a", frozenset({Scope.READ}), None, digest_of(KEYS["a"])),
        ApiKey("b", frozenset(Scope), "team-b", digest_of(KEYS["b"])),
    )
    service = LocalService(sqlite_url, tmp_path, api_keys=keys, secret_key="s3")
    path = service.artifacts.save("0198c1de-0000-7000-8000-000000000001", "a.txt", b"x")
    assert path
    with served(service) as url:
        with Client(url) as stranger, pytest.raises(ApiError) as caught:
            stranger.list()
        assert caught.value.status == 401
        with Client(url, api_key=KEYS["a"]) as reader, pytest.raises(ApiError) as caught:
            reader.submit("noop", {})
        assert caught.value.status == 403
        with Client(url, api_key=KEYS["b"]) as team:
            done = team.run("scripted", {})
            assert done["namespace"] == "team-b"
            service.artifacts.save(done["task_id"], "a.txt", b"hello")
            [file] = team.artifacts(done["task_id"])
            assert (file["name"], file["bytes"]) == ("a.txt", 5)
            assert team.artifact(done["task_id"], "a.txt") == b"hello"


def test_acts_failures_and_filters(client: Client) -> None:
    with pytest.raises(TaskFailed) as caught:
        client.run("scripted", {"step": "permanent"}, tags=["acts"])
    assert caught.value.task is not None
    failed = caught.value.task["task_id"]
    waiting = client.submit("noop", {}, delay_seconds=600, tags=["acts"])
    cancelled = client.cancel(waiting["task_id"], message="not needed")
    assert cancelled["cancel_reason"] == {
        "code": "requested",
        "message": "not needed",
        "by": "local",
    }
    assert [act["action"] for act in client.get(waiting["task_id"])["actions"]] == ["cancel"]
    both = client.tasks(state=["FAILED", "CANCELLED"], tag="acts")
    assert [task["task_id"] for task in both] == [waiting["task_id"], failed]
    [group] = client.errors("scripted")["groups"]
    since = client.errors()["since"]
    listed = client.list(error_type=group["error_type"], created_after=since)
    assert [task["task_id"] for task in listed["tasks"]] == [failed]
    assert client.bulk_retry(error_type=group["error_type"], dry_run=True)["matched"] == 1
    assert [entry["by"] for entry in client.audit_entries(action="cancel")] == ["local"]
    assert client.audit(limit=1)["next_cursor"] is None
    assert client.me()["name"] == "local"
    [space] = client.namespaces()
    assert (space["name"], space["by_state"]["FAILED"]) == ("default", 1)
    kinds = {type(event) for event in client.events(failed, types=["log"], level="ERROR")}
    assert kinds == {EndEvent}


async def test_the_other_client_has_them_too(url: str) -> None:
    async with AsyncClient(url) as client:
        task = await client.submit("noop", {}, delay_seconds=600)
        await client.cancel(task["task_id"], message="not needed")
        entries = [entry async for entry in client.audit_entries(by="local")]
        assert [entry["target"] for entry in entries] == [task["task_id"]]
        assert (await client.audit())["entries"] == entries
        assert (await client.errors())["groups"] == []
        assert [space["name"] for space in await client.namespaces()] == ["default"]
        assert (await client.me())["scopes"] == ["operate", "read", "submit"]
        events = [event async for event in client.events(task["task_id"], logs=False)]
        assert isinstance(events[-1], EndEvent)
