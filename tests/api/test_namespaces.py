"""Two namespaces, and one key of each: neither sees or changes what is in the other."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from raytasks.api_keys import ApiKey, Scope, digest_of
from tests.keyring import KEYS, bearer, locked
from tests.local_service import Api

GOOD = {"task_type": "scripted", "payload": {}, "tags": ["t"]}
TEAM_A = ApiKey("a", frozenset(Scope), "team-a", digest_of(KEYS["a"]))
TEAM_B = ApiKey("b", frozenset(Scope), "team-b", digest_of(KEYS["b"]))
FREE = ApiKey("o", frozenset(Scope), None, digest_of(KEYS["o"]))


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A service for two teams."""
    async with locked(sqlite_url, tmp_path, (TEAM_A, TEAM_B, FREE)) as api:
        yield api


async def submitted(api: Api, who: str, path: str = "/tasks/", **headers: str) -> dict[str, Any]:
    """Submit a task with a key, and return it."""
    response = await api.client.post(path, json=GOOD, headers=bearer(who) | headers)
    assert response.status_code in (200, 202), response.text
    task: dict[str, Any] = response.json()
    return task


async def listed(api: Api, who: str, query: str = "") -> list[str]:
    """Return the ids of all tasks that a key sees, and check that they are as many as told."""
    response = await api.client.get(f"/tasks/?{query}", headers=bearer(who))
    assert response.status_code == 200, response.text
    page = response.json()
    assert page["total"] in (None, len(page["tasks"]))
    return [task["task_id"] for task in page["tasks"]]


def check_missing(answers: Sequence[httpx.Response], *ids: str) -> None:
    """Check that an answer is the same as for what does not exist at all."""
    assert [answer.status_code for answer in answers] == [404, 404]
    texts = [answer.text for answer in answers]
    for task_id in ids:
        texts = [text.replace(task_id, "ID") for text in texts]
    assert texts[0] == texts[1]


async def test_each_key_submits_to_its_own(api: Api) -> None:
    tasks = {who: await submitted(api, who) for who in "abo"}
    assert [tasks[who]["namespace"] for who in "abo"] == ["team-a", "team-b", "default"]
    for who in "abo":
        assert await listed(api, who) == [tasks[who]["task_id"]]
        for query in ("tag=t", "state=PENDING", "task_type=scripted"):
            assert await listed(api, who, query) == [tasks[who]["task_id"]]


async def test_a_batch_goes_there_too(api: Api) -> None:
    response = await api.client.post("/tasks/batch", json={"tasks": [GOOD]}, headers=bearer("b"))
    assert [task["namespace"] for task in response.json()["tasks"]] == ["team-b"]
    assert await listed(api, "a") == []


async def test_a_free_key_works_in_all_that_it_names(api: Api) -> None:
    task = await submitted(api, "o", "/tasks/?namespace=team-a")
    assert task["namespace"] == "team-a"
    assert await listed(api, "a") == await listed(api, "o", "namespace=team-a")
    path = f"/tasks/{task['task_id']}"
    assert (await api.client.get(path, headers=bearer("o"))).status_code == 404
    for action in ("cancel", "retry"):
        missing = await api.client.post(f"{path}/{action}", headers=bearer("o"))
        assert missing.status_code == 404
        there = f"{path}/{action}?namespace=team-a"
        assert (await api.client.post(there, headers=bearer("o"))).status_code == 202


@pytest.mark.parametrize(
    ("method", "end"),
    [
        ("GET", ""),
        ("GET", "?wait=60"),
        ("GET", "/artifacts"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
    ],
)
async def test_what_is_elsewhere_is_not_there(api: Api, method: str, end: str) -> None:
    task_id = (await submitted(api, "a"))["task_id"]
    unknown = task_id[:-1] + ("0" if task_id[-1] != "0" else "1")
    answers = [
        await api.client.request(method, f"/tasks/{one}{end}", headers=bearer("b"))
        for one in (task_id, unknown)
    ]
    check_missing(answers, task_id, unknown)
    mine = await api.client.get(f"/tasks/{task_id}", headers=bearer("a"))
    assert (mine.json()["state"], mine.json()["revision"]) == ("PENDING", 0)


async def test_files_of_elsewhere_are_not_there(api: Api) -> None:
    task_id = (await submitted(api, "a"))["task_id"]
    path = api.service.artifacts.save(task_id, "a.txt", b"secret")
    other = await api.client.get(path, headers=bearer("b"))
    assert other.status_code == 404
    assert (await api.client.get(path, headers=bearer("a"))).content == b"secret"


async def test_an_idempotency_key_counts_in_its_own_alone(api: Api) -> None:
    tasks = {who: await submitted(api, who, **{"Idempotency-Key": "k"}) for who in "ab"}
    assert tasks["a"]["task_id"] != tasks["b"]["task_id"]
    again = await submitted(api, "b", **{"Idempotency-Key": "k"})
    assert again["task_id"] == tasks["b"]["task_id"]


async def test_a_cursor_of_elsewhere_leads_nowhere_else(api: Api) -> None:
    mine = [(await submitted(api, "a"))["task_id"] for _ in range(2)]
    other = (await submitted(api, "b"))["task_id"]
    response = await api.client.get(f"/tasks/?cursor={other}", headers=bearer("a"))
    assert {task["task_id"] for task in response.json()["tasks"]} <= set(mine)


async def test_they_are_listed_with_exact_counts(api: Api) -> None:
    async def namespaces(who: str) -> list[dict[str, Any]]:
        answer = await api.client.get("/namespaces", headers=bearer(who))
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["namespaces"]
        return found

    assert await namespaces("o") == []
    tasks = [await submitted(api, who) for who in "abbo"]
    cancelled = f"/tasks/{tasks[1]['task_id']}/cancel"
    assert (await api.client.post(cancelled, headers=bearer("b"))).status_code == 202
    usual = {"weight": 1.0, "max_backlog": None}
    team_b = {"name": "team-b", "by_state": {"CANCELLED": 1, "PENDING": 1}, **usual}
    assert await namespaces("o") == [
        {"name": "default", "by_state": {"PENDING": 1}, **usual},
        {"name": "team-a", "by_state": {"PENDING": 1}, **usual},
        team_b,
    ]
    assert await namespaces("b") == [team_b]
