"""`PATCH` and `DELETE /tasks/{id}`, a retry with other values, and the deletion of many."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from pydantic import BaseModel

from raytasks.handling.declaration import handler, handler_of
from raytasks.model.hidden import MARK
from raytasks.model.tasks import StoreUnavailable
from tests.keyring import bearer, locked
from tests.local_service import Api, LocalService, serving

LATER = {"delay_seconds": 600}
UNKNOWN = "0198c1de-0000-7000-8000-000000000000"


class Letter(BaseModel):
    to: str
    text: str = ""


@handler("sealed", redact=["/text"])
def sealed(payload: Letter) -> str:
    return payload.to


@pytest.fixture
async def small(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API with a runner, with handlers with limits and secrets, and large payloads in files."""
    modules = ("tests.scripted", "tests.flow_handlers")
    service = LocalService(
        sqlite_url, tmp_path, task_modules=modules, offload_bytes=500, max_payload_bytes=5000
    )
    service.registry.add(handler_of(sealed))
    async with serving(service, runner=True) as api:
        yield api


async def patch(
    api: Api, task: dict[str, Any], match: str | None = None, status: int = 200, **body: Any
) -> Any:
    """Change a task of the given revision, or with this header."""
    match = f'"{task["revision"]}"' if match is None else match
    answer = await api.client.patch(
        f"/tasks/{task['task_id']}", json=body, headers={"If-Match": match} if match else {}
    )
    assert answer.status_code == status, answer.text
    if status < 300:
        assert answer.headers["etag"] == f'"{answer.json()["revision"]}"'
    return answer.json()


async def read(api: Api, task: dict[str, Any]) -> Any:
    answer = await api.client.get(f"/tasks/{task['task_id']}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == f'"{answer.json()["revision"]}"'
    return answer.json()


def pointers(problem: Any) -> dict[str, str]:
    return {item["pointer"]: item["message"] for item in problem["errors"]}


async def test_what_waits_is_changed_and_runs_so(small: Api) -> None:
    answer = await small.client.post(
        "/tasks/", json={"task_type": "scripted", "payload": {}, "tags": ["old"], **LATER}
    )
    assert answer.headers["etag"] == '"0"'
    task = answer.json()
    body: dict[str, Any] = {
        "priority": 7, "tags": ["new", "x"], "timeout_seconds": 9.5, "max_attempts": 4,
        "payload": {"value": 5}, "expires_seconds": 3600,
    }  # fmt: skip
    changed = await patch(small, task, **body)
    expires = changed["expires_at"]
    assert expires is not None
    for name in ("priority", "tags", "timeout_seconds", "max_attempts", "payload"):
        assert changed[name] == body[name]
    assert (changed["state"], changed["revision"], changed["attempt"]) == ("PENDING", 1, 0)
    assert changed["run_at"] == task["run_at"]
    for tag, number in (("old", 0), ("new", 1)):
        found = (await small.client.get("/tasks/", params={"tag": tag})).json()["tasks"]
        assert len(found) == number
    again = await patch(small, changed, expires_at=None, max_attempts=None)
    assert (again["expires_at"], again["max_attempts"]) == (None, task["max_attempts"])
    await patch(small, again, delay_seconds=0)
    ended = await small.finished(task)
    assert (ended["state"], ended["result"]["value"]) == ("COMPLETED", 5)
    assert [act["action"] for act in ended["actions"]] == ["change"] * 3
    assert {act["by"] for act in ended["actions"]} == {"local"}


async def test_only_the_known_revision_is_changed(idle_api: Api) -> None:
    task = await idle_api.submit(**LATER)
    problem = await patch(idle_api, task, "", 428, priority=1)
    assert "If-Match" in problem["detail"]
    for bad in ("0", 'W/"0"', "*", '"x"', '"0", "1"', '"-1"', f'"{"9" * 30}"'):
        problem = await patch(idle_api, task, bad, 422, priority=1)
        assert "double quotes" in pointers(problem)["If-Match"]
    first = await patch(idle_api, task, priority=1)
    problem = await patch(idle_api, task, status=412, priority=2)
    assert "revision 1 by now, not 0" in problem["detail"]
    await patch(idle_api, task, '"7"', 412, priority=2)
    assert (await read(idle_api, task))["priority"] == 1
    again = await patch(idle_api, task, priority=1)  # the same request, sent again
    assert again == first
    audit = (await idle_api.client.get("/audit")).json()["entries"]
    assert [(item["action"], item["details"]["changed"]) for item in audit] == [
        ("change", "priority")
    ]


async def test_the_same_request_may_come_again_with_each_kind_of_value(small: Api) -> None:
    for body in (
        {"delay_seconds": 100.25}, {"expires_seconds": 777.5}, {"payload": {"value": "y" * 600}},
        {"payload": {"value": 1}, "tags": []}, {"run_at": "2031-01-31T12:00:00Z"},
    ):  # fmt: skip
        task = await small.submit(**LATER)
        first = await patch(small, task, **body)
        assert await patch(small, task, **body) == first
        assert first["revision"] == 1


async def test_what_runs_or_has_ended_is_not_changed(small: Api) -> None:
    task = await small.submit(payload={"step": "wait_cancelled", "seconds": 30})
    await small.begun(task)
    running = await read(small, task)
    problem = await patch(small, running, status=409, priority=1)
    assert "RUNNING" in problem["detail"]
    assert (await small.client.delete(f"/tasks/{task['task_id']}")).status_code == 409
    await small.client.post(f"/tasks/{task['task_id']}/cancel")
    ended = await small.finished(task)
    problem = await patch(small, ended, status=409, priority=1)
    assert "CANCELLED" in problem["detail"]
    await patch(small, {"task_id": UNKNOWN, "revision": 0}, status=404, priority=1)


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ({}, "", "at least one of: priority"),
        ([], "", "valid dictionary"),
        ({"priority": 1001}, "/priority", "less than or equal to 1000"),
        ({"priority": True}, "/priority", "not true or false"),
        ({"priority": None}, "/priority", "give a value, or leave it out"),
        ({"run_at": None}, "/run_at", "give a value"),
        ({"run_at": "2031-01-01T00:00:00Z", "delay_seconds": 1}, "", "not both"),
        ({"expires_at": None, "expires_seconds": 1}, "", "not both"),
        ({"delay_seconds": 1e12}, "/delay_seconds", "within 10 years"),
        ({"run_at": "2990-01-01T00:00:00Z"}, "/run_at", "within 10 years"),
        ({"tags": ["a", "a"]}, "/tags", "give each tag once"),
        ({"tags": ["ä"]}, "/tags/0", "match pattern"),
        ({"payload": {"seconds": "x"}}, "/payload/seconds", "number"),
        ({"limit_values": {"smtp": 1}}, "/limit_values/smtp", "no keyed limit"),
        ({"color": 1}, "/color", "Extra inputs"),
        ({"task_type": "noop"}, "/task_type", "keeps its type"),
        ({"namespace": "x"}, "/namespace", "stays in its namespace"),
        ({"unique": {"key": "k"}}, "/unique", "unique key belongs to the submission"),
        ({"callback_url": "https://a"}, "/callback_url", "callback belongs to the submission"),
        ({"idempotency_key": "k"}, "/idempotency_key", "key belongs to the submission"),
    ],
    ids=str,
)
async def test_a_bad_change_is_named_and_changes_nothing(
    idle_api: Api, body: Any, pointer: str, message: str
) -> None:
    task = await idle_api.submit(**LATER)
    path = f"/tasks/{task['task_id']}"
    answer = await idle_api.client.patch(path, json=body, headers={"If-Match": '"0"'})
    assert answer.status_code == 422, answer.text
    assert message in pointers(answer.json())[pointer]
    after = await read(idle_api, task)
    assert {name: after[name] for name in task} == task


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at", "must be in the future"),
        ({"expires_seconds": 1e12}, "/expires_seconds", "within 10 years"),
        ({"expires_seconds": 300}, "/expires_seconds", "later than run_at, when the task is due"),
        (
            {"expires_seconds": 300, "delay_seconds": 400},
            "/expires_seconds",
            "later than delay_seconds, when",
        ),
        ({"delay_seconds": 1000}, "/delay_seconds", "change expires_at as well"),
    ],
    ids=str,
)
async def test_an_expiry_before_the_task_is_due_is_refused(
    idle_api: Api, body: Any, pointer: str, message: str
) -> None:
    """It would be cancelled without having had a chance to run."""
    task = await idle_api.submit(**LATER, expires_seconds=900)
    problem = await patch(idle_api, task, status=422, **body)
    assert message in pointers(problem)[pointer]
    assert (await read(idle_api, task))["revision"] == 0
    await patch(idle_api, task, delay_seconds=1000, expires_seconds=1100)


async def test_a_retry_counts_its_expiry_from_now(idle_api: Api) -> None:
    task = await idle_api.submit(**LATER, expires_seconds=900)
    path = f"/tasks/{task['task_id']}"
    await idle_api.client.post(f"{path}/cancel")
    late = {"delay_seconds": 300, "expires_seconds": 200}
    refused = await idle_api.client.post(f"{path}/retry", json=late)
    assert refused.status_code == 422
    assert "later than delay_seconds" in pointers(refused.json())["/expires_seconds"]
    again = await idle_api.client.post(f"{path}/retry", json={"delay_seconds": 1000})
    assert (again.status_code, again.json()["expires_at"]) == (202, None)
    task = await idle_api.submit(**LATER)
    await idle_api.client.post(f"/tasks/{task['task_id']}/cancel")
    soon = {"expires_seconds": 200}
    again = await idle_api.client.post(f"/tasks/{task['task_id']}/retry", json=soon)
    assert again.status_code == 202, again.text


async def test_the_lane_follows_the_limit_values(small: Api) -> None:
    task = await small.submit(task_type="mail", payload={"account": 1}, **LATER)
    assert task["limit_values"] == {"customer": 1}
    moved = await patch(small, task, payload={"account": 2})
    assert moved["limit_values"] == {"customer": 2}
    given = await patch(small, moved, limit_values={"customer": "vip"})
    assert (given["limit_values"], given["payload"]) == ({"customer": "vip"}, {"account": 2})
    kept = await patch(small, given, payload={"account": 3})  # the given value is not the payload's
    assert kept["limit_values"] == {"customer": "vip"}
    problem = await patch(small, kept, status=422, payload={"account": []}, limit_values={"x": 1})
    assert "/limit_values/x" in pointers(problem)
    await patch(small, kept, delay_seconds=0)
    ended = await small.finished(task)
    assert (ended["state"], ended["result"]) == ("COMPLETED", {"account": 3})


async def test_a_hidden_value_is_not_replaced_by_its_mark(small: Api) -> None:
    task = await small.submit(task_type="sealed", payload={"to": "a", "text": "s"}, **LATER)
    problem = await patch(small, task, status=422, payload={"to": "b", "text": MARK})
    assert "mark of a hidden value" in pointers(problem)["/payload/text"]
    changed = await patch(small, task, payload={"to": "b", "text": "t"})
    assert changed["payload"]["to"] == "b"


def files(api: Api, task: dict[str, Any]) -> list[str]:
    folder = Path(api.service.artifacts.path(task["task_id"], "x")).parent
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


async def test_large_payloads_are_in_files_of_their_own(small: Api) -> None:
    big = {"value": "x" * 600}
    task = await small.submit(payload={"value": 1}, **LATER)
    changed = await patch(small, task, payload=big)
    assert (changed["payload"], changed["offloaded"]["payload"]) == (None, 612)
    assert (await read(small, task))["payload"] == big
    await patch(small, task, payload=big)  # again: it needs no second file
    [first] = files(small, task)
    bigger = {"value": "y" * 700}
    await patch(small, task, status=412, payload=bigger)
    assert files(small, task) == [first]
    other = await patch(small, changed, payload=bigger)
    assert len(files(small, task)) == 2  # the former stays for present readers
    keys = small.service.tracker.ticker.store.files_due(1e12, 10)
    assert keys == [(task["task_id"], first)]
    done = await patch(small, other, delay_seconds=0)
    ended = await small.finished(done)
    assert ended["result"]["value"] == bigger["value"]


async def test_a_large_payload_that_may_be_stored_keeps_its_file(small: Api) -> None:
    task = await small.submit(**LATER)
    execute, backend = small.service.tracker.execute, small.service.backend

    async def answers_lost(command: Any) -> Any:
        await execute(command)
        raise StoreUnavailable("the answer was lost")

    small.service.tracker.execute = answers_lost  # type: ignore[method-assign]
    big = {"value": "z" * 600}
    await patch(small, task, status=503, payload=big)
    small.service.tracker.execute = execute  # type: ignore[method-assign]
    assert backend.calls["ChangeTask"] == 1
    assert (await read(small, task))["payload"] == big
    again = await patch(small, task, payload=big)
    assert again["revision"] == 1
    assert len(files(small, task)) == 1


async def test_a_retry_may_have_other_values(small: Api) -> None:
    failed = await small.finished(await small.submit(payload={"step": "permanent"}))
    path = f"/tasks/{failed['task_id']}/retry"
    bad: tuple[tuple[dict[str, Any], int, str], ...] = (
        ({"payload": {"seconds": "x"}}, 422, "/payload/seconds"),
        ({"unique": None}, 422, "/unique"),
    )
    for body, status, pointer in bad:
        answer = await small.client.post(path, json=body)
        assert answer.status_code == status
        assert pointer in pointers(answer.json())
    assert (await small.client.post(path, json={"expires_seconds": 5})).status_code == 409
    assert (await read(small, failed))["state"] == "FAILED"
    body = {"payload": {"value": 3}, "priority": 9, "delay_seconds": 300, "tags": ["again"]}
    answer = await small.client.post(path, json=body)
    assert answer.status_code == 202, answer.text
    task = answer.json()
    assert (task["state"], task["priority"], task["tags"]) == ("PENDING", 9, ["again"])
    assert task["revision"] == failed["revision"] + 1
    assert (await small.client.post(path, json=body)).status_code == 409
    await patch(small, task, delay_seconds=0)
    ended = await small.finished(task)
    assert (ended["state"], ended["result"]["value"]) == ("COMPLETED", 3)
    assert ended["attempt"] == 2
    assert [act["action"] for act in ended["actions"]] == ["retry", "change"]


async def test_a_call_of_the_tracker_that_arrives_twice_retries_once(small: Api) -> None:
    """The second one comes when the task has failed again."""
    failed = await small.finished(await small.submit(payload={"step": "permanent"}))
    execute = small.service.tracker.execute

    async def delivered_twice(command: Any) -> Any:
        await execute(command)
        await small.finished(failed)
        return await execute(command)

    small.service.tracker.execute = delivered_twice  # type: ignore[method-assign]
    answer = await small.client.post(f"/tasks/{failed['task_id']}/retry")
    assert answer.status_code == 202, answer.text
    small.service.tracker.execute = execute  # type: ignore[method-assign]
    task = await read(small, failed)
    assert (task["state"], task["attempt"]) == ("FAILED", 2)


async def test_a_retry_that_names_the_revision_may_be_sent_again(small: Api) -> None:
    failed = await small.finished(await small.submit(payload={"step": "permanent"}))
    path = f"/tasks/{failed['task_id']}/retry"
    match = {"If-Match": f'"{failed["revision"]}"'}
    for _ in range(2):
        answer = await small.client.post(path, headers=match)
        assert answer.status_code == 202, answer.text
        assert (await small.finished(failed))["attempt"] == 2
    for body in ({"payload": {"value": 1}}, {"priority": 4}):
        answer = await small.client.post(path, headers=match, json=body)
        assert answer.status_code == 412, answer.text
    assert (await small.client.post(path, headers={"If-Match": "3"})).status_code == 422
    again = await small.client.post(path)  # somebody who has seen how it failed
    assert again.status_code == 202, again.text
    assert (await small.finished(failed))["attempt"] == 3


async def test_a_retry_that_comes_between_is_in_conflict_with_another(small: Api) -> None:
    failed = await small.finished(await small.submit(payload={"step": "permanent"}))
    execute = small.service.tracker.execute

    async def overtaken(command: Any) -> Any:
        await execute(replace(command, by="ben"))
        await small.finished(failed)
        return await execute(command)

    small.service.tracker.execute = overtaken  # type: ignore[method-assign]
    answer = await small.client.post(f"/tasks/{failed['task_id']}/retry")
    assert answer.status_code == 409, answer.text
    assert "it was retried" in answer.json()["detail"]
    assert (await read(small, failed))["attempt"] == 2


async def test_a_checkpoint_ends_with_its_payload(small: Api) -> None:
    task = await small.submit(payload={"step": "permanent"})
    failed = await small.finished(task)
    store = small.service.tracker.ticker.store
    with store._database.writing() as connection:
        connection.exec_driver_sql("UPDATE tasks SET checkpoint = '7', checkpoint_number = 1")
    path = f"/tasks/{failed['task_id']}/retry"
    answer = await small.client.post(path, json={"payload": {"value": 1}, "delay_seconds": 100})
    assert answer.status_code == 202, answer.text
    with store._database.reading() as connection:
        row = connection.exec_driver_sql("SELECT checkpoint, checkpoint_number FROM tasks").one()
    assert tuple(row) == (None, None)


async def test_a_final_task_is_deleted_with_all_that_is_its_own(small: Api) -> None:
    task = await small.finished(await small.submit(payload={"value": "x" * 600}, tags=["gone"]))
    path = f"/tasks/{task['task_id']}"
    answer = await small.client.delete(path)
    assert (answer.status_code, answer.content) == (204, b"")
    for method, where in (("GET", path), ("DELETE", path), ("GET", f"{path}/events")):
        assert (await small.client.request(method, where)).status_code == 404
    assert await small.total() == 0
    assert (await small.client.get("/tasks/", params={"tag": "gone"})).json()["tasks"] == []
    store = small.service.tracker.ticker.store
    assert store.files_due(1e12, 10) == [(task["task_id"], "")]
    [entry] = (await small.client.get("/audit")).json()["entries"]
    assert (entry["action"], entry["target"]) == ("delete", task["task_id"])
    assert entry["details"]["state"] == "COMPLETED"
    assert (await small.client.delete(f"/tasks/{UNKNOWN}")).status_code == 404


async def test_a_deleted_task_frees_its_idempotency_key(idle_api: Api) -> None:
    body = {"task_type": "noop", "payload": {}}
    key = {"Idempotency-Key": "once"}
    first = (await idle_api.client.post("/tasks/", json=body, headers=key)).json()
    path = f"/tasks/{first['task_id']}"
    assert (await idle_api.client.delete(path)).status_code == 409
    await idle_api.client.post(f"{path}/cancel")
    assert (await idle_api.client.delete(path)).status_code == 204
    second = await idle_api.client.post("/tasks/", json=body, headers=key)
    assert second.status_code == 202
    assert second.json()["task_id"] != first["task_id"]


async def test_many_are_deleted(small: Api) -> None:
    ended = [await small.finished(await small.submit(tags=["t"])) for _ in range(3)]
    other = await small.finished(await small.submit(payload={"step": "permanent"}, tags=["t"]))
    waiting = await small.submit(tags=["t"], **LATER)
    body = {"action": "delete", "tag": "t"}
    counted = await small.client.post("/bulk", json={**body, "dry_run": True})
    assert counted.json() == {"matched": 4}
    bad = await small.client.post("/bulk", json={**body, "state": "RUNNING"})
    assert "one of COMPLETED, FAILED, CANCELLED" in pointers(bad.json())["/state"]
    assert (await small.client.post("/bulk", json={"action": "delete"})).status_code == 422
    made = await small.client.post("/bulk", json={**body, "state": "COMPLETED"})
    assert made.status_code == 202
    path = f"/bulk/{made.json()['bulk_id']}"
    found: dict[str, Any] = {"state": "RUNNING"}
    while found["state"] != "DONE":
        found = (await small.client.get(path)).json()
    assert (found["matched"], found["changed"]) == (3, 3)
    left = (await small.client.get("/tasks/")).json()
    assert {item["task_id"] for item in left["tasks"]} == {other["task_id"], waiting["task_id"]}
    assert left["total"] == 2
    for task in ended:
        assert (await small.client.get(f"/tasks/{task['task_id']}")).status_code == 404
    [entry] = (await small.client.get("/audit")).json()["entries"]
    assert entry["action"] == "bulk_delete"


async def test_who_may(sqlite_url: str, tmp_path: Path) -> None:
    async with locked(sqlite_url, tmp_path) as api:

        async def ask(method: str, key: str, path: str, **body: Any) -> httpx.Response:
            headers = {**bearer(key), "If-Match": '"0"'}
            return await api.client.request(method, path, headers=headers, json=body or None)

        new = {"task_type": "noop", "payload": {}, **LATER}
        made = await api.client.post("/tasks/", json=new, headers=bearer("s"))
        path = f"/tasks/{made.json()['task_id']}"
        assert (await ask("PATCH", "b", path, priority=1)).status_code == 404
        assert (await ask("PATCH", "r", path, priority=1)).status_code == 403
        assert (await ask("PATCH", "s", path, priority=1)).json()["priority"] == 1
        await ask("POST", "o", f"{path}/cancel")
        assert (await ask("DELETE", "b", path)).status_code == 404
        assert (await ask("DELETE", "s", path)).status_code == 403
        assert (await ask("DELETE", "o", path)).status_code == 204


async def test_events_tell_of_changes(small: Api) -> None:
    task = await small.submit(**LATER)
    first = await patch(small, task, priority=1)
    second = await patch(small, first, priority=2)
    await small.client.post(f"/tasks/{task['task_id']}/cancel")
    lines = (await small.client.get(f"/tasks/{task['task_id']}/events")).text.splitlines()
    found = [line for line in lines if line.startswith("data: ") and '"action"' in line]
    assert second["revision"] == 2
    told = [json.loads(line[6:]) for line in found]
    assert [(item["state"], item["action"], item["revision"]) for item in told] == [
        ("PENDING", None, 0), ("PENDING", "change", 1), ("PENDING", "change", 2),
        ("CANCELLED", "cancel", 3),
    ]  # fmt: skip


@pytest.mark.parametrize("sent", [{}, {"json": {}}, {"content": b""}], ids=str)
async def test_a_retry_without_values_changes_none(idle_api: Api, sent: dict[str, Any]) -> None:
    task = await idle_api.submit()
    await idle_api.client.post(f"/tasks/{task['task_id']}/cancel")
    answer = await idle_api.client.post(f"/tasks/{task['task_id']}/retry", **sent)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["priority"], answer.json()["revision"]) == (0, 2)
