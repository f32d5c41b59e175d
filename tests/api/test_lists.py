"""The list of tasks: filters, pages, order."""

from typing import Any

import pytest

from tests.local_service import Api


async def listed(api: Api, query: str = "") -> dict[str, Any]:
    response = await api.client.get(f"/tasks/{query}")
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    assert page.keys() == {"tasks", "total", "limit", "offset", "next_cursor"}
    return page


@pytest.fixture
async def ids(api: Api) -> list[str]:
    """Five tasks, newest first: FAILED, three COMPLETED of two types, CANCELLED."""
    cancelled = await api.submit(delay_seconds=600)
    await api.client.post(f"/tasks/{cancelled['task_id']}/cancel")
    permanent = {"step": "permanent"}
    changes: list[dict[str, Any]] = [{}, {"task_type": "noop"}, {}, {"payload": permanent}]
    tasks = [cancelled, *[await api.finished(await api.submit(**change)) for change in changes]]
    return [task["task_id"] for task in reversed(tasks)]


async def test_an_empty_list(api: Api) -> None:
    empty = {"tasks": [], "total": 0, "limit": 50, "offset": 0, "next_cursor": None}
    assert await listed(api) == empty


async def test_the_newest_come_first_and_pages_fit_together(api: Api, ids: list[str]) -> None:
    page = await listed(api)
    assert [task["task_id"] for task in page["tasks"]] == ids
    assert page["total"] == 5
    pages = [await listed(api, f"?limit=2&offset={offset}") for offset in (0, 2, 4, 6)]
    assert [task["task_id"] for page in pages for task in page["tasks"]] == ids
    assert [len(page["tasks"]) for page in pages] == [2, 2, 1, 0]
    assert {page["total"] for page in pages} == {5}
    assert [(page["limit"], page["offset"]) for page in pages] == [(2, 0), (2, 2), (2, 4), (2, 6)]


async def test_filters(api: Api, ids: list[str]) -> None:
    failed, third, noop, second, cancelled = ids
    for query, wanted in {
        "?state=COMPLETED": [third, noop, second],
        "?state=FAILED": [failed],
        "?state=CANCELLED": [cancelled],
        "?state=RUNNING": [],
        "?task_type=noop": [noop],
        "?task_type=scripted": [failed, third, second, cancelled],
        "?task_type=scripted&state=COMPLETED": [third, second],
        "?task_type=noop&state=FAILED": [],
        "?task_type=unheard_of": [],
        "?state=COMPLETED&limit=1&offset=1": [noop],
    }.items():
        page = await listed(api, query)
        assert [task["task_id"] for task in page["tasks"]] == wanted, query
        if "limit" not in query:
            assert page["total"] == len(wanted), query


async def test_a_task_in_the_list_is_the_task(api: Api, ids: list[str]) -> None:
    for task in (await listed(api))["tasks"]:
        alone = (await api.client.get(f"/tasks/{task['task_id']}")).json()
        for name in ("attempts", "attempts_omitted", "waiting_for", "actions"):  # not in lists
            alone.pop(name)
        assert task == alone


@pytest.mark.parametrize("query", ["?limit=1", "?limit=500", "?offset=9007199254740992"])
async def test_the_limits_of_the_limits(api: Api, query: str) -> None:
    await listed(api, query)


async def test_pages_by_cursor_are_stable_while_tasks_come_in(api: Api, ids: list[str]) -> None:
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = await listed(api, f"?limit=2{cursor}")
        seen += [task["task_id"] for task in page["tasks"]]
        cursor = f"&cursor={page['next_cursor']}"
        await api.submit(delay_seconds=600)
    assert (seen, page["next_cursor"]) == (ids, None)
    assert (await listed(api, "?limit=5"))["next_cursor"] is not None
    done = await listed(api, "?state=COMPLETED&limit=2")
    rest = await listed(api, f"?state=COMPLETED&limit=2&cursor={done['next_cursor']}")
    assert [len(done["tasks"]), len(rest["tasks"]), rest["next_cursor"]] == [2, 1, None]


async def test_tags(api: Api) -> None:
    made = [await api.submit(tags=tags) for tags in (["a", "b"], ["b"], [], ["b", "team/x=1"])]
    made.append(await api.submit(task_type="noop", tags=["b"]))
    ids = [task["task_id"] for task in made]
    for task in made:
        await api.finished(task)
    assert [task["tags"] for task in made] == [["a", "b"], ["b"], [], ["b", "team/x=1"], ["b"]]
    for query, wanted in {
        "?tag=a": [0],
        "?tag=b": [4, 3, 1, 0],
        "?tag=team/x=1": [3],
        "?tag=nobody": [],
        "?tag=b&task_type=noop": [4],
        "?tag=b&state=PENDING": [],
        "?tag=b&state=COMPLETED&task_type=scripted": [3, 1, 0],
        f"?tag=b&cursor={ids[3]}": [1, 0],
    }.items():
        page = await listed(api, query)
        assert [task["task_id"] for task in page["tasks"]] == [ids[n] for n in wanted], query
        assert (page["total"], page["next_cursor"]) == (None, None)
    page = await listed(api, "?tag=b&limit=2")
    assert page["next_cursor"] == ids[3]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("?cursor=x", "cursor must be the next_cursor"),
        ("?offset=1&tag=a", "use cursor, not offset"),
        ("?offset=1&cursor=0198c1de-0000-7000-8000-000000000001", "use cursor, not offset"),
        ("?tag=with%20space", "?tag"),
    ],
)
async def test_bad_places_in_a_list_are_named(api: Api, query: str, names: str) -> None:
    response = await api.client.get(f"/tasks/{query}")
    assert response.status_code == 422
    assert names in response.text


@pytest.mark.parametrize(
    "tags", [["a", "a"], [""], ["a b"], ["x" * 65], [str(n) for n in range(21)]]
)
async def test_bad_tags_are_refused(api: Api, tags: list[str]) -> None:
    body = {"task_type": "noop", "payload": {}, "tags": tags}
    response = await api.client.post("/tasks/", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"].startswith("/tags")


async def test_the_parts_of_the_filter(api: Api) -> None:
    failed = await api.finished(await api.submit(payload={"step": "permanent"}))
    done = await api.finished(await api.submit())
    waiting = await api.submit(task_type="noop", delay_seconds=600)
    error, since = failed["error"]["type"], done["created_at"]
    for query, wanted, total in (
        ("state=FAILED&state=COMPLETED", [done, failed], 2),
        ("state=FAILED&state=COMPLETED&limit=1", [done], 2),
        (f"error_type={error}", [failed], None),
        (f"error_type={error}&state=PENDING", [], None),
        (f"created_after={since}", [waiting, done], None),
        (f"created_before={since}", [failed], None),
        (f"created_after={since}&state=PENDING&task_type=noop", [waiting], None),
    ):
        page = await listed(api, f"?{query}")
        found = [task["task_id"] for task in page["tasks"]]
        assert found == [task["task_id"] for task in wanted], query
        assert page["total"] == total, query


@pytest.mark.parametrize(
    "query",
    [
        "offset=1&error_type=ValueError", "offset=1&created_after=2026-01-01T00:00:00Z",
        "offset=1&state=FAILED&state=PENDING", "created_after=1", "created_before=2026-01-01",
        "error_type=", "error_type=%00", "state=LOST", "state=FAILED&state=LOST",
    ],
)  # fmt: skip
async def test_a_filter_that_makes_no_sense_is_refused(idle_api: Api, query: str) -> None:
    answer = await idle_api.client.get(f"/tasks/?{query}")
    assert answer.status_code == 422, query
