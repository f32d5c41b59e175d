"""`/pools`: the sizes of pools as declared, and as people set them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from raytasks.api.pool_routes import PoolsView
from raytasks.model.steering import PoolSetting
from tests.local_service import Api, LocalService, call, serving


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API without a runner, with handlers that have pools."""
    modules = ("tests.scripted", "tests.pool_handlers")
    async with serving(
        LocalService(sqlite_url, tmp_path, task_modules=modules), runner=False
    ) as api:
        yield api


async def pool(api: Api, name: str) -> dict[str, Any]:
    """Return a pool as it is listed."""
    document = await call(api, "GET", "/pools")
    assert PoolsView.model_validate(document).model_dump(mode="json") == document
    [found] = [pool for pool in document["pools"] if pool["name"] == name]
    return dict(found)


async def acts(api: Api) -> list[tuple[str, str | None, Any]]:
    """The acts of the audit, the oldest first."""
    entries = (await call(api, "GET", "/audit"))["entries"]
    return [(item["action"], item["target"], item["details"]) for item in entries[::-1]]


async def test_declared_pools_are_listed_before_any_runner_is_there(api: Api) -> None:
    await api.submit(task_type="pooled_sleep", payload={})
    found = await pool(api, "burst")
    assert found["task_types"] == ["pooled_class", "pooled_sleep", "pooled_wait"]
    assert (found["declared"], found["override"]) == ({"runners": [0, 4]}, None)
    assert (found["runners"], found["backlog"]) == (0, 1)
    assert (await pool(api, "remote"))["declared"] is None


async def test_what_is_set_holds_until_it_is_cleared(api: Api) -> None:
    changed = await call(api, "PUT", "/pools/burst", {"runners": [1, 9]})
    assert changed["declared"] == {"runners": [0, 4]}
    assert changed["override"]["runners"] == [1, 9]
    assert (changed["override"]["by"], await pool(api, "burst")) == ("local", changed)
    assert await call(api, "PUT", "/pools/burst", {"runners": [1, 9]}) == changed
    assert (await call(api, "PUT", "/pools/shared", {"runners": [0, 2]}))["override"] is not None
    for _ in range(2):  # it is safe to repeat
        assert (await call(api, "DELETE", "/pools/burst"))["override"] is None
    assert (await pool(api, "shared"))["override"]["runners"] == [0, 2]
    assert await acts(api) == [
        ("set_pool", "burst", {"least": 1, "most": 9}),
        ("set_pool", "shared", {"least": 0, "most": 2}),
        ("clear_pool", "burst", None),
    ]


async def test_an_unknown_one_is_a_404_that_names_those_there_are(api: Api) -> None:
    for method, body in (("PUT", {"runners": [0, 1]}), ("DELETE", None)):
        problem = await call(api, method, "/pools/brust", body, 404)
        said, _, names = problem["detail"].partition("; there are: ")
        assert said == "no handler declares the pool 'brust'"
        assert {"burst", "remote", "shared"} <= set(names.split(", "))
    assert await acts(api) == []


async def test_the_pool_of_remote_tasks_has_no_sizes(api: Api) -> None:
    problem = await call(api, "PUT", "/pools/remote", {"runners": [1, 2]}, 409)
    assert "cluster's resources" in problem["detail"]
    assert await acts(api) == []


@pytest.mark.parametrize(
    ("body", "pointer", "message"),
    [
        ({}, "/runners", "required"),
        ({"runners": None}, "/runners", "valid list"),
        ({"runners": 3}, "/runners", "valid list"),
        ({"runners": [1]}, "/runners", "at least 2"),
        ({"runners": [1, 2, 3]}, "/runners", "at most 2"),
        ({"runners": [2, 1]}, "/runners", "0 <= least <= most"),
        ({"runners": [0, 0]}, "/runners", "most from 1"),
        ({"runners": [-1, 1]}, "/runners", "0 <= least"),
        ({"runners": [0, 100_001]}, "/runners", "100000"),
        ({"runners": [0, True]}, "/runners/1", "valid integer"),
        ({"runners": [0, "4"]}, "/runners/1", "valid integer"),
        ({"runners": [0.5, 4]}, "/runners/0", "valid integer"),
        ({"runners": [0, 4], "spare": 1}, "/spare", "not permitted"),
        ([0, 4], "", "valid dictionary"),
    ],
)
async def test_a_bad_value_is_a_422_that_names_the_field(
    api: Api, body: Any, pointer: str, message: str
) -> None:
    problem = await call(api, "PUT", "/pools/burst", body, 422)
    [error] = problem["errors"]
    assert error["pointer"] == pointer
    assert message in error["message"]
    assert (await pool(api, "burst"))["override"] is None


async def test_one_that_is_declared_no_more_is_shown_without_effect(api: Api) -> None:
    ticker = api.service.tracker.ticker
    gone = PoolSetting("gone", 2, 5, changed_at=1000.0, by="anna")
    ticker.steering = ticker.steering.changed([gone], 1000.0)
    shown = await pool(api, "gone")
    assert (shown["task_types"], shown["min_runners"], shown["declared"]) == ([], None, None)
    assert shown["override"]["runners"] == [2, 5]
    await call(api, "PUT", "/pools/gone", {"runners": [1, 2]}, 404)
    assert (await call(api, "DELETE", "/pools/gone"))["override"] is None
    await call(api, "DELETE", "/pools/gone", status=404)
