"""Batches: all or none, errors by index, one key for the whole."""

import asyncio
from typing import Any

import pytest
from httpx import Response

from tests.local_service import Api


def item(**changes: Any) -> dict[str, Any]:
    return {"task_type": "scripted", "payload": {}, **changes}


async def post(api: Api, tasks: Any, key: str | None = None) -> Response:
    headers = {"Idempotency-Key": key} if key else {}
    return await api.client.post("/tasks/batch", json={"tasks": tasks}, headers=headers)


async def total(api: Api) -> int:
    found: int = (await api.client.get("/tasks/")).json()["total"]
    return found


async def test_all_tasks_of_a_batch_run(api: Api) -> None:
    answer = await post(api, [item(payload={"value": n}, tags=[f"t{n}"]) for n in range(30)])
    assert answer.status_code == 202
    made = answer.json()["tasks"]
    assert [task["tags"] for task in made] == [[f"t{n}"] for n in range(30)]
    ended = [await api.finished(task) for task in made]
    assert [task["result"]["value"] for task in ended] == list(range(30))


async def test_the_largest_batch(api: Api) -> None:
    tasks = [item(task_type="noop", delay_seconds=600)] * 1000
    assert len((await post(api, tasks)).json()["tasks"]) == 1000
    assert await total(api) == 1000
    answer = await post(api, [*tasks, tasks[0]])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/tasks"


@pytest.mark.parametrize("tasks", [[], None, {}, "x", [item()] * 1001])
async def test_what_is_no_batch(api: Api, tasks: Any) -> None:
    answer = await post(api, tasks)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/tasks"
    assert await total(api) == 0


async def test_every_bad_task_is_named_and_nothing_is_stored(api: Api) -> None:
    bad = [item(), item(payload={"step": "dance"}), 5, item(task_type="scriptd"), item(tags=["a "])]
    answer = await post(api, bad)
    assert answer.status_code == 422
    errors = {error["pointer"]: error["message"] for error in answer.json()["errors"]}
    assert list(errors) == [
        "/tasks/1/payload/step",
        "/tasks/2",
        "/tasks/3/task_type",
        "/tasks/4/tags/0",
    ]
    assert await total(api) == 0


async def test_a_large_payload_in_a_batch_is_named(api: Api) -> None:
    most = api.service.settings.max_payload_bytes
    answer = await post(api, [item(), item(payload={"value": "x" * most})])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/tasks/1/payload"
    assert await total(api) == 0


async def test_the_same_batch_again_is_answered_with_its_tasks(api: Api) -> None:
    first = await post(api, [item(payload={"value": n}) for n in range(3)], "k")
    again = await post(api, [item(payload={"value": n}) for n in range(3)], "k")
    assert (first.status_code, again.status_code) == (202, 200)
    ids = [[task["task_id"] for task in answer.json()["tasks"]] for answer in (first, again)]
    assert ids[0] == ids[1]
    assert await total(api) == 3


@pytest.mark.parametrize(
    "other",
    [
        [item(payload={"value": 0})],
        [item(payload={"value": n}) for n in (0, 2)],
        [item(payload={"value": n}) for n in (0, 1, 2)],
        [item(payload={"value": n}) for n in (1, 0)],
    ],
)
async def test_another_batch_with_the_same_key_is_refused_whole(api: Api, other: Any) -> None:
    await post(api, [item(payload={"value": n}) for n in range(2)], "k")
    answer = await post(api, other, "k")
    assert answer.status_code == 409
    assert await total(api) == 2


async def test_a_task_and_a_batch_cannot_share_a_key(api: Api) -> None:
    one = await api.client.post("/tasks/", json=item(), headers={"Idempotency-Key": "k"})
    assert one.status_code == 202
    assert (await post(api, [item(), item()], "k")).status_code == 409
    assert (await post(api, [item(), item()], "l")).status_code == 202
    other = await api.client.post("/tasks/", json=item(), headers={"Idempotency-Key": "l"})
    assert other.status_code == 409
    assert await total(api) == 3


async def test_the_same_batch_many_times_at_once_is_stored_once(api: Api) -> None:
    tasks = [item(payload={"value": n}) for n in range(5)]
    answers = await asyncio.gather(*[post(api, tasks, f"k{n % 3}") for n in range(30)])
    assert sorted({answer.status_code for answer in answers}) == [200, 202]
    assert await total(api) == 15
    made = {tuple(task["task_id"] for task in answer.json()["tasks"]) for answer in answers}
    assert len(made) == 3
