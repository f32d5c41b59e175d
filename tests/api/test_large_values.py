"""Large payloads and results over HTTP: transparent, and a clear error where a file is lost."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from raytasks.api.submitter import Submitter
from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.artifacts.large_values import ArtifactsUnavailable
from raytasks.model.tasks import BacklogFull, StoreUnavailable
from tests.local_service import Api, LocalService

LIMIT = 1000
"""OFFLOAD_BYTES of the service of these tests."""


@pytest.fixture(params=["a folder", "memory://large-values"])
async def api(
    sqlite_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Api]:
    """The API with a runner, and with its files in a folder or behind a URL."""
    place = str(tmp_path / "artifacts") if request.param == "a folder" else request.param
    service = LocalService(
        sqlite_url,
        tmp_path,
        artifacts_url=place,
        offload_bytes=LIMIT,
        max_result_bytes=2_000_000,
        max_backlog=20,
    )
    async with asyncio.timeout(100), service.running(), service.client() as client:
        yield Api(service, client)
    if request.param != "a folder":
        service.artifacts._files.store.clear()


def item(size: int, **changes: Any) -> dict[str, Any]:
    """Return a submission whose payload has so many bytes as JSON."""
    return {"task_type": "scripted", "payload": {"value": "x" * (size - 12)}, **changes}


def large_result(size: int) -> dict[str, Any]:
    """Return a submission whose result has so many bytes as JSON."""
    return {"task_type": "scripted", "payload": {"step": "large", "seconds": size - 2}}


async def post(api: Api, body: Any, key: str | None = None, path: str = "/tasks/") -> Any:
    return await api.client.post(path, json=body, headers={"Idempotency-Key": key} if key else {})


def files(api: Api) -> list[str]:
    """Return the names of all files in the artifact store."""
    found = api.service.artifacts._files.find(api.service.artifacts._place[1])
    return sorted(path.rpartition("/")[2] for path in found)


def remove_file(api: Api, task: dict[str, Any], start: str) -> None:
    """Delete the files of a task whose names begin so."""
    artifacts = api.service.artifacts
    for path in artifacts._files.find(artifacts._folder(task["task_id"])):
        if path.rpartition("/")[2].startswith(start):
            artifacts._files.rm(path)


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1, 900_000])
async def test_a_payload_of_each_size_reaches_its_handler_and_its_reader(
    api: Api, size: int
) -> None:
    body = item(size)
    answer = await post(api, body)
    assert answer.status_code == 202
    task = answer.json()
    if size <= LIMIT:
        assert (task["payload"], task["offloaded"]) == (body["payload"], None)
    else:
        assert (task["payload"], task["offloaded"]) == (None, {"payload": size, "result": None})
    ended = await api.finished(task)
    assert ended["payload"] == body["payload"]
    assert ended["result"]["value"] == body["payload"]["value"]
    again = await api.client.get(f"/tasks/{task['task_id']}")
    assert again.json() == ended


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1, 900_000, 2_000_000])
async def test_a_result_of_each_size_comes_back(api: Api, size: int) -> None:
    task = (await post(api, large_result(size))).json()
    ended = await api.finished(task)
    assert ended["result"] == "x" * (size - 2)
    large = size > LIMIT
    assert ended["offloaded"] == ({"payload": None, "result": size} if large else None)
    [listed] = (await api.client.get("/tasks/")).json()["tasks"]
    assert listed["result"] == (None if large else ended["result"])
    assert listed["offloaded"] == ended["offloaded"]
    assert len(files(api)) == large


async def test_one_byte_more_than_the_most_fails_for_good(api: Api) -> None:
    ended = await api.finished((await post(api, large_result(2_000_001))).json())
    assert (ended["state"], ended["attempt"], ended["result"]) == ("FAILED", 1, None)
    assert ended["error"]["type"] == "PermanentError"
    assert "MAX_RESULT_BYTES" in ended["error"]["message"]
    assert files(api) == []


async def test_many_at_once_get_their_own(api: Api) -> None:
    letters = "abcdefghij"
    bodies = [{"task_type": "scripted", "payload": {"value": x * 300_000}} for x in letters]
    tasks = [answer.json() for answer in await asyncio.gather(*(post(api, b) for b in bodies))]
    ended = await asyncio.gather(*(api.finished(task) for task in tasks))
    assert [task["result"]["value"][:3] for task in ended] == [x * 3 for x in letters]
    assert {len(task["result"]["value"]) for task in ended} == {300_000}


async def test_a_retried_attempt_reads_its_payload_again(api: Api) -> None:
    body = item(5000)
    body["payload"]["fail_first"] = 2
    ended = await api.finished((await post(api, body)).json())
    outcomes = [attempt["outcome"] for attempt in ended["attempts"]]
    assert outcomes == ["failed", "failed", "succeeded"]


async def test_the_files_are_nobodys_to_fetch(api: Api) -> None:
    ended = await api.finished((await post(api, item(5000))).json())
    names = files(api)
    assert [name.split(".")[1] for name in names] == ["payload", "result"]
    for name in names:
        answer = await api.client.get(f"/artifacts/{ended['task_id']}/{name}")
        assert answer.status_code == 404


@pytest.mark.parametrize("lost", [".payload", ".result"])
async def test_a_lost_file_is_410_and_names_what_is_gone(api: Api, lost: str) -> None:
    ended = await api.finished((await post(api, item(5000))).json())
    remove_file(api, ended, lost)
    for query in ({}, {"wait": 5}):
        answer = await api.client.get(f"/tasks/{ended['task_id']}", params=query)
        assert answer.status_code == 410
        problem = answer.json()
        assert (problem["title"], problem["status"]) == ("Gone", 410)
        assert f"the {lost[1:]} of task {ended['task_id']} is gone" in problem["detail"]
    [listed] = (await api.client.get("/tasks/")).json()["tasks"]
    assert listed["state"] == "COMPLETED"


async def test_a_changed_file_is_410_too(api: Api) -> None:
    ended = await api.finished((await post(api, item(5000))).json())
    artifacts = api.service.artifacts
    artifacts.save_own(ended["task_id"], ".payload.json", b'{"value":1}')
    answer = await api.client.get(f"/tasks/{ended['task_id']}")
    assert answer.status_code == 410
    assert "is not what was written" in answer.json()["detail"]


async def test_a_task_whose_payload_is_lost_before_it_runs_fails_and_is_not_tried_again(
    api: Api,
) -> None:
    await api.service.tracker.pause()
    task = (await post(api, item(5000))).json()
    remove_file(api, task, ".payload")
    await api.service.tracker.resume()
    waited = await api.client.get(f"/tasks/{task['task_id']}", params={"wait": 20})
    assert waited.status_code == 410
    [listed] = (await api.client.get("/tasks/")).json()["tasks"]
    assert (listed["state"], listed["attempt"]) == ("FAILED", 1)
    assert listed["error"]["type"] == "ArtifactLost"
    assert f"the payload of task {task['task_id']} is gone" in listed["error"]["message"]


async def test_a_store_that_is_away_is_503_and_nothing_is_stored(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = await api.finished((await post(api, item(5000))).json())

    def away(*arguments: Any) -> Any:
        raise ConnectionError("/secret/place")

    for name in ("save_own", "read_own"):
        monkeypatch.setattr("raytasks.artifacts.artifact_store.ArtifactStore." + name, away)
    answers = [
        await post(api, item(5000)),
        await post(api, {"tasks": [item(50), item(5000)]}, path="/tasks/batch"),
        await api.client.get(f"/tasks/{ended['task_id']}"),
    ]
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert "secret" not in answer.text
    assert await api.total() == 1
    assert (await post(api, item(50))).status_code == 202


async def test_a_duplicate_leaves_the_first_ones_file_and_none_of_its_own(api: Api) -> None:
    body = item(5000, delay_seconds=60)
    answers = await asyncio.gather(*(post(api, body, "one key") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 200, 202]
    [task_id] = {answer.json()["task_id"] for answer in answers}
    assert files(api) == [".payload.json"]
    for answer in answers:
        assert answer.json()["offloaded"] == {"payload": 5000, "result": None}
    other = await post(api, item(5001, delay_seconds=60), "one key")
    assert other.status_code == 409
    assert files(api) == [".payload.json"]
    found = await api.client.get(f"/tasks/{task_id}")
    assert found.json()["payload"] == body["payload"]


async def test_a_batch_with_large_payloads(api: Api) -> None:
    batch = {"tasks": [item(50), item(900_000), item(60), item(LIMIT + 1)]}
    answer = await post(api, batch, "batch", "/tasks/batch")
    assert answer.status_code == 202
    made = answer.json()["tasks"]
    assert [task["payload"] is None for task in made] == [False, True, False, True]
    again = await post(api, batch, "batch", "/tasks/batch")
    assert again.status_code == 200
    assert [t["task_id"] for t in again.json()["tasks"]] == [t["task_id"] for t in made]
    ended = [await api.finished(task) for task in made]
    assert [task["payload"] for task in ended] == [one["payload"] for one in batch["tasks"]]
    assert [len(task["result"]["value"]) + 12 for task in ended] == [50, 900_000, 60, LIMIT + 1]
    assert files(api).count(".payload.json") == 2
    batch["tasks"][0] = item(51)
    assert (await post(api, batch, "batch", "/tasks/batch")).status_code == 409
    assert files(api).count(".payload.json") == 2


async def test_a_bad_task_in_a_batch_leaves_no_file(api: Api) -> None:
    batch = {"tasks": [item(5000), {"task_type": "scripted", "payload": {"step": "dance"}}]}
    assert (await post(api, batch, path="/tasks/batch")).status_code == 422
    assert files(api) == []


async def test_what_a_full_backlog_refuses_leaves_no_file(api: Api) -> None:
    waiting = [item(50, delay_seconds=600)] * 19
    assert (await post(api, {"tasks": waiting}, path="/tasks/batch")).status_code == 202
    refused = await post(api, {"tasks": [item(5000)] * 2}, path="/tasks/batch")
    assert refused.status_code == 429
    assert files(api) == []
    assert (await post(api, item(5000, delay_seconds=600))).status_code == 202
    assert files(api) == [".payload.json"]


@pytest.mark.parametrize(
    ("failure", "stored", "status", "left"),
    [
        (StoreUnavailable("away"), False, 503, 1),  # it may be stored all the same
        (BacklogFull("full"), True, 429, 1),  # Ray has sent a call again that was done before
        (BacklogFull("full"), False, 429, 0),
    ],
)
async def test_only_what_is_certainly_not_stored_loses_its_file(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    failure: Exception,
    stored: bool,
    status: int,
    left: int,
) -> None:
    submit = api.service.tracker.submit

    async def fail(tasks: Any) -> Any:
        if stored:
            await submit(tasks)
        raise failure

    monkeypatch.setattr(api.service.tracker, "submit", fail)
    answer = await post(api, item(5000, delay_seconds=600))
    assert answer.status_code == status
    assert files(api).count(".payload.json") == left
    assert await api.total() == stored


async def test_the_submission_of_a_client_that_hangs_up_goes_on(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    send, submit = Submitter.submit, api.service.tracker.submit

    async def begin(submitter: Submitter, tasks: Any) -> Any:
        begun.set()
        return await send(submitter, tasks)

    async def wait(tasks: Any) -> Any:
        await go_on.wait()
        return await submit(tasks)

    monkeypatch.setattr(Submitter, "submit", begin)
    monkeypatch.setattr(api.service.tracker, "submit", wait)
    body = item(5000, delay_seconds=60)
    first = asyncio.ensure_future(post(api, body, "key"))
    await begun.wait()
    begun.clear()
    second = asyncio.ensure_future(post(api, body, "key"))
    await begun.wait()
    second.cancel()  # it will turn out to be a duplicate
    assert len(files(api)) == 2
    forgotten = asyncio.Event()
    loop, remove = asyncio.get_running_loop(), ArtifactStore.remove

    def tell(store: ArtifactStore, task_id: str) -> None:
        remove(store, task_id)
        loop.call_soon_threadsafe(forgotten.set)

    monkeypatch.setattr(ArtifactStore, "remove", tell)
    go_on.set()
    await forgotten.wait()
    task = (await first).json()
    assert files(api) == [".payload.json"]
    found = await api.client.get(f"/tasks/{task['task_id']}")
    assert found.json()["payload"] == body["payload"]


def test_a_store_that_is_away_is_told_as_the_database_is() -> None:
    assert issubclass(ArtifactsUnavailable, StoreUnavailable)
