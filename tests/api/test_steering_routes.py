"""`/limits`, `/namespaces`, `/pauses`, `/pause`, `/resume`: what people set at run time."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from raytasks.api.limit_routes import LimitsView
from raytasks.api.namespace_routes import NamespacesView
from raytasks.api.pause_routes import PausesView, ResumedView
from raytasks.model.steering import LimitSetting
from tests.local_service import Api, LocalService, call, serving

NO_BOUNDS: dict[str, Any] = {"running": None, "rate": None, "per_seconds": None, "burst": None}
SMTP = {"running": 20, "rate": 500.0, "per_seconds": 60.0, "burst": 8}


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API without a runner, with handlers that have limits."""
    modules = ("tests.scripted", "tests.flow_handlers")
    async with serving(
        LocalService(sqlite_url, tmp_path, task_modules=modules), runner=False
    ) as api:
        yield api


async def acts(api: Api) -> list[tuple[str, str | None, str | None, Any]]:
    """The acts of the audit, the oldest first."""
    entries = (await call(api, "GET", "/audit"))["entries"]
    return [
        (item["action"], item["namespace"], item["target"], item["details"])
        for item in entries[::-1]
    ]


class TestLimits:
    async def test_they_are_listed_as_they_are_declared(self, api: Api) -> None:
        await api.submit(task_type="letter", payload={})
        document = await call(api, "GET", "/limits")
        assert LimitsView.model_validate(document).model_dump(mode="json") == document
        customer, order, smtp = document["limits"]
        assert smtp == {
            "name": "smtp",
            "keyed": False,
            "ordered": False,
            "declared": SMTP,
            "override": None,
            "in_force": SMTP,
            "types": ["letter", "mail"],
            "running": 0,
            "waiting": smtp["waiting"],
            "tokens": smtp["tokens"],
            "fullest": [],
        }
        assert (customer["name"], customer["keyed"], customer["ordered"]) == (
            "customer", True, False,
        )  # fmt: skip
        assert customer["declared"] == {**NO_BOUNDS, "running": 2}
        assert (order["name"], order["keyed"], order["ordered"]) == ("order", True, True)

    async def test_what_is_set_replaces_all_bounds_until_it_is_cleared(self, api: Api) -> None:
        changed = await call(api, "PUT", "/limits/smtp", {"running": 3})
        assert changed["declared"] == SMTP
        assert changed["in_force"] == {**NO_BOUNDS, "running": 3}
        override = changed["override"]
        assert (override["running"], override["rate"], override["by"]) == (3, None, "local")
        assert (await call(api, "GET", "/limits"))["limits"][2] == changed
        rated = await call(api, "PUT", "/limits/smtp", {"rate": 0.5, "per_seconds": 2})
        assert rated["in_force"] == {
            "running": None, "rate": 0.5, "per_seconds": 2.0, "burst": 1,
        }  # fmt: skip
        for _ in range(2):  # it is safe to repeat
            cleared = await call(api, "DELETE", "/limits/smtp")
            assert (cleared["override"], cleared["in_force"]) == (None, SMTP)
        told = [act[:3] for act in await acts(api)]
        assert told == [("set_limit", None, "smtp")] * 2 + [("clear_limit", None, "smtp")]

    async def test_an_unknown_one_is_a_404_that_names_those_there_are(self, api: Api) -> None:
        for method, body in (("PUT", {"running": 1}), ("DELETE", None)):
            problem = await call(api, method, "/limits/smpt", body, 404)
            assert problem["detail"] == (
                "no handler declares the limit 'smpt'; there are: customer, order, smtp"
            )
        assert await acts(api) == []

    async def test_an_ordered_one_stays_at_one(self, api: Api) -> None:
        problem = await call(api, "PUT", "/limits/order", {"running": 2}, 409)
        assert "set running to 1" in problem["detail"]
        changed = await call(api, "PUT", "/limits/order", {"rate": 5})
        assert (changed["in_force"]["running"], changed["in_force"]["rate"]) == (1, 5.0)

    @pytest.mark.parametrize(
        ("body", "pointer", "message"),
        [
            ({}, "/rate", "give running, rate, or both"),
            ({"running": None, "rate": None}, "/rate", "give running, rate, or both"),
            ({"running": 0}, "/running", "greater than or equal to 1"),
            ({"running": 100_001}, "/running", "less than or equal to 100000"),
            ({"running": 1.5}, "/running", "valid integer"),
            ({"running": "5"}, "/running", "valid integer"),
            ({"running": True}, "/running", "valid integer"),
            ({"rate": 0}, "/rate", "greater than or equal to 0.001"),
            ({"rate": -1}, "/rate", "greater than or equal to 0.001"),
            ({"rate": 1e10}, "/rate", "less than or equal to"),
            ({"rate": "fast"}, "/rate", "valid number"),
            ({"rate": 5, "per_seconds": 0}, "/per_seconds", "greater than or equal to 0.001"),
            ({"rate": 5, "per_seconds": 86_401}, "/per_seconds", "less than or equal to 86400"),
            ({"rate": 5, "per_seconds": None}, "/per_seconds", "valid number"),
            ({"running": 5, "per_seconds": 60}, "/per_seconds", "give rate as well"),
            ({"rate": 5, "burst": 0}, "/burst", "greater than or equal to 1"),
            ({"running": 5, "burst": 2}, "/burst", "give rate as well"),
            ({"running": 5, "by": "/account"}, "/by", "not permitted"),
            ([], "", "valid dictionary"),
        ],
    )
    async def test_a_bad_value_is_a_422_that_names_the_field(
        self, api: Api, body: Any, pointer: str, message: str
    ) -> None:
        problem = await call(api, "PUT", "/limits/smtp", body, 422)
        [error] = problem["errors"]
        assert error["pointer"] == pointer
        assert message in error["message"]
        assert (await call(api, "GET", "/limits"))["limits"][2]["override"] is None

    async def test_one_that_is_declared_no_more_is_shown_without_effect(self, api: Api) -> None:
        ticker = api.service.tracker.ticker
        gone = LimitSetting("fax", 5, None, 1.0, None, changed_at=1000.0, by="anna")
        ticker.steering = ticker.steering.changed([gone], 1000.0)
        [shown] = [
            limit
            for limit in (await call(api, "GET", "/limits"))["limits"]
            if limit["name"] == "fax"
        ]
        assert (shown["declared"], shown["in_force"], shown["types"]) == (None, None, [])
        assert shown["override"]["running"] == 5
        await call(api, "PUT", "/limits/fax", {"running": 6}, 404)
        cleared = await call(api, "DELETE", "/limits/fax")
        assert (cleared["declared"], cleared["override"]) == (None, None)
        await call(api, "DELETE", "/limits/fax", status=404)


class TestNamespaces:
    async def test_a_share_is_set_for_a_namespace_that_has_no_tasks_yet(self, api: Api) -> None:
        await api.submit()
        changed = await call(api, "PUT", "/namespaces/shop", {"weight": 2.5, "max_backlog": 10})
        assert changed == {"name": "shop", "by_state": {}, "weight": 2.5, "max_backlog": 10}
        document = await call(api, "GET", "/namespaces")
        assert NamespacesView.model_validate(document)
        default, shop = document["namespaces"]
        assert shop == changed
        assert (default["name"], default["weight"], default["max_backlog"]) == (
            "default",
            1.0,
            None,
        )
        cleared = await call(api, "DELETE", "/namespaces/shop")
        assert (cleared["weight"], cleared["max_backlog"]) == (1.0, None)
        await call(api, "DELETE", "/namespaces/shop", status=404)
        assert [item["name"] for item in (await call(api, "GET", "/namespaces"))["namespaces"]] == [
            "default"
        ]
        assert await acts(api) == [
            ("set_namespace", "shop", None, {"weight": 2.5, "max_backlog": 10}),
            ("clear_namespace", "shop", None, None),
        ]

    @pytest.mark.parametrize(
        ("name", "body", "pointer"),
        [
            ("shop", {"weight": 0}, "/weight"),
            ("shop", {"weight": 1001}, "/weight"),
            ("shop", {"weight": True}, "/weight"),
            ("shop", {"weight": "2"}, "/weight"),
            ("shop", {"weight": None}, "/weight"),
            ("shop", {"max_backlog": -1}, "/max_backlog"),
            ("shop", {"max_backlog": 1.5}, "/max_backlog"),
            ("shop", {"size": 5}, "/size"),
            ("Shop", {"weight": 2}, "/name"),
            ("-shop", {"weight": 2}, "/name"),
        ],
    )
    async def test_a_bad_value_is_a_422_that_names_the_field(
        self, api: Api, name: str, body: Any, pointer: str
    ) -> None:
        problem = await call(api, "PUT", f"/namespaces/{name}", body, 422)
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
        assert (await call(api, "GET", "/namespaces"))["namespaces"] == []

    async def test_a_full_backlog_of_a_namespace_is_a_429_that_names_it(self, api: Api) -> None:
        await call(api, "PUT", "/namespaces/shop", {"max_backlog": 2})
        good = {"task_type": "scripted", "payload": {}}
        for _ in range(2):
            await call(api, "POST", "/tasks/?namespace=shop", good, 202)
        response = await api.client.post("/tasks/?namespace=shop", json=good)
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "1"
        assert response.json()["detail"] == (
            "the backlog of the namespace shop is full: its max_backlog has room for 0 more, and "
            "1 were submitted"
        )
        await call(api, "POST", "/tasks/", good, 202)  # others have room
        await call(api, "DELETE", "/namespaces/shop")
        await call(api, "POST", "/tasks/?namespace=shop", good, 202)


class TestPauses:
    async def test_a_pause_is_listed_until_it_is_ended(self, api: Api) -> None:
        await api.submit()
        body = {"task_type": "scripted", "seconds": 600}
        paused = await call(api, "POST", "/pause", body)
        assert PausesView.model_validate(paused).model_dump(mode="json") == paused
        [pause] = paused["pauses"]
        assert (pause["task_type"], pause["namespace"], pause["by"]) == ("scripted", None, "local")
        assert (pause["waiting"], pause["drain"]) == (1, False)
        assert pause["until"] > pause["since"]
        both = await call(api, "POST", "/pause", {"namespace": "shop"})
        assert [item["task_type"] for item in both["pauses"]] == ["scripted", None]
        assert both == await call(api, "GET", "/pauses")
        resumed = await call(api, "POST", "/resume", {"task_type": "scripted"})
        assert ResumedView.model_validate(resumed)
        assert (resumed["ended"], resumed["pauses"]) == (True, both["pauses"][1:])
        again = await call(api, "POST", "/resume", {"task_type": "scripted"})
        assert (again["ended"], again["pauses"]) == (False, both["pauses"][1:])
        told = [act[:3] for act in await acts(api)]
        assert told == [
            ("pause", None, "scripted"),
            ("pause", "shop", None),
            ("resume", None, "scripted"),
        ]

    async def test_a_paused_task_says_what_it_waits_for(self, api: Api) -> None:
        task = await api.submit()
        await call(api, "POST", "/pause", {"namespace": "default"})
        found = await call(api, "GET", f"/tasks/{task['task_id']}")
        reason = found["waiting_for"][0]
        assert (reason["code"], reason["fix"]) == (
            "paused", "run 'raytasks resume --namespace default'",
        )  # fmt: skip
        assert (reason["details"]["by"], reason["details"]["namespace"]) == ("local", "default")
        health = await call(api, "GET", "/health")
        assert health["status"] == "degraded"
        assert "paused" in [item["code"] for item in health["reasons"]]

    async def test_the_whole_service_is_paused_without_any_field(self, api: Api) -> None:
        [pause] = (await call(api, "POST", "/pause", {}))["pauses"]
        assert (pause["task_type"], pause["namespace"], pause["until"]) == (None, None, None)
        assert (await call(api, "POST", "/resume", {}))["pauses"] == []

    @pytest.mark.parametrize("path", ["/pause", "/resume"])
    async def test_a_request_without_json_pauses_nothing(self, api: Api, path: str) -> None:
        response = await api.client.post(path)
        assert response.status_code == 415
        assert (await call(api, "GET", "/pauses"))["pauses"] == []

    @pytest.mark.parametrize(
        ("body", "pointer", "message"),
        [
            ({"task_type": "scriptd"}, "/task_type", "did you mean 'scripted'?"),
            ({"task_type": ""}, "/task_type", "at least 1 character"),
            ({"task_type": 5}, "/task_type", "valid string"),
            ({"namespace": "Shop"}, "/namespace", "match pattern"),
            ({"namespace": ""}, "/namespace", "match pattern"),
            ({"seconds": 0}, "/seconds", "greater than 0"),
            ({"seconds": -5}, "/seconds", "greater than 0"),
            ({"seconds": 1e9}, "/seconds", "less than or equal to"),
            ({"seconds": "10m"}, "/seconds", "valid number"),
            ({"seconds": True}, "/seconds", "valid number"),
            ({"type": "scripted"}, "/type", "not permitted"),
        ],
    )
    async def test_a_bad_value_is_a_422_that_names_the_field(
        self, api: Api, body: Any, pointer: str, message: str
    ) -> None:
        problem = await call(api, "POST", "/pause", body, 422)
        [error] = problem["errors"]
        assert error["pointer"] == pointer
        assert message in error["message"]
        assert (await call(api, "GET", "/pauses"))["pauses"] == []
