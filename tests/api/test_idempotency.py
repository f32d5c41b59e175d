"""Idempotency keys: however often a request comes, there is one task."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.local_service import Api

BODY = {"task_type": "noop", "payload": {"n": 1, "m": [2]}, "priority": 3}


async def post(api: Api, key: str, body: Any = BODY) -> httpx.Response:
    return await api.client.post("/tasks/", json=body, headers={"Idempotency-Key": key})


async def test_the_same_request_again_is_answered_with_the_same_task(api: Api) -> None:
    first = await post(api, "a key")
    assert first.status_code == 202
    await api.finished(first.json())
    reordered = {"priority": 3, "payload": {"m": [2], "n": 1}, "task_type": "noop"}
    for body in (BODY, reordered):
        again = await post(api, "a key", body)
        assert again.status_code == 200
        assert again.headers["Location"] == first.headers["Location"]
        assert again.json()["task_id"] == first.json()["task_id"]
        assert again.json()["state"] == "COMPLETED"
    assert await api.total() == 1


@pytest.mark.parametrize(
    "change", [{"payload": {"n": 2, "m": [2]}}, {"priority": 4}, {"max_attempts": 2}]
)
async def test_another_request_with_the_key_is_refused(
    idle_api: Api, change: dict[str, Any]
) -> None:
    first = await post(idle_api, "a key")
    other = await post(idle_api, "a key", BODY | change)
    assert other.status_code == 409
    assert first.json()["task_id"] in other.json()["detail"]
    assert await idle_api.total() == 1


async def test_other_keys_and_no_key_make_other_tasks(idle_api: Api) -> None:
    for key in ("a key", "A key"):
        assert (await post(idle_api, key)).status_code == 202
    assert (await idle_api.client.post("/tasks/", json=BODY)).status_code == 202
    assert await idle_api.total() == 3


async def test_many_at_once_make_one_task(api: Api) -> None:
    answers = await asyncio.gather(*[post(api, f"key {n % 3}") for n in range(60)])
    assert sorted({answer.status_code for answer in answers}) == [200, 202]
    assert sum(answer.status_code == 202 for answer in answers) == 3
    assert len({answer.json()["task_id"] for answer in answers}) == 3
    assert await api.total() == 3


async def test_a_conflict_does_not_touch_its_neighbours(api: Api) -> None:
    """They travel to the tracker in one call."""
    await post(api, "taken")
    bodies = [BODY | {"priority": n} for n in range(20)]
    answers = await asyncio.gather(
        *[post(api, "taken" if n % 4 == 0 else f"key {n}", bodies[n]) for n in range(20)]
    )
    assert [answer.status_code for answer in answers] == [
        409 if n % 4 == 0 else 202 for n in range(20)
    ]


@pytest.mark.parametrize("key", ["", "x" * 256, "tab\there", "\u00e9"])
async def test_a_bad_key_is_refused(idle_api: Api, key: str) -> None:
    headers = [("Idempotency-Key", key.encode("latin-1"))]
    answer = await idle_api.client.post("/tasks/", json=BODY, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "Idempotency-Key"
    assert await idle_api.total() == 0


async def test_the_longest_key_is_taken(idle_api: Api) -> None:
    assert (await post(idle_api, "x" * 255)).status_code == 202
