"""The list of tasks: filters, pages, order."""

from typing import Any

import pytest
from local_service import Api


async def listed(api: Api, query: str = "") -> dict[str, Any]:
    response = await api.client.get(f"/tasks/{query}")
    assert response.status_code == 200, response.text
    page: dict[str, Any] = response.json()
    assert page.keys() == {"tasks", "total", "limit", "offset"}
    return page


@pytest.fixture
async def ids(api: Api) -> list[str]:
    """Five tasks, newest first: FAILED, three COMPLETED of two types, CANCELLED."""
    cancelled = await api.submit(delay_seconds=600)
    await api.client.post(f"/tasks/{cancelled['task_id']}/cancel")
    changes = ({}, {"task_type": "noop"}, {}, {"payload": {"step": "permanent"}})
    tasks = [cancelled, *[await api.finished(await api.submit(**change)) for change in changes]]
    return [task["task_id"] for task in reversed(tasks)]


async def test_an_empty_list(api: Api) -> None:
    assert await listed(api) == {"tasks": [], "total": 0, "limit": 50, "offset": 0}


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
        alone.pop("attempts")
        assert task == alone


@pytest.mark.parametrize("query", ["?limit=1", "?limit=500", "?offset=9007199254740992"])
async def test_the_limits_of_the_limits(api: Api, query: str) -> None:
    await listed(api, query)
