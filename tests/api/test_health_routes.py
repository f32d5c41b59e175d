"""`/livez`, `/readyz` and `/health`: what probes and people get."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from raytasks.api import health_routes
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import Health, Query
from tests.keyring import bearer, locked
from tests.local_service import Api


async def test_a_replica_lives_whatever_else_is_away(idle_api: Api) -> None:
    idle_api.service.backend.failure = StoreUnavailable("away")
    before = idle_api.service.backend.calls.total()
    response = await idle_api.client.get("/livez")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert idle_api.service.backend.calls.total() == before


class TestReady:
    async def test_also_without_runners(self, idle_api: Api) -> None:
        response = await idle_api.client.get("/readyz")
        assert (response.status_code, response.json()) == (200, {"status": "ok", "reasons": []})

    async def test_not_without_the_tracker(self, idle_api: Api) -> None:
        idle_api.service.backend.failure = StoreUnavailable("postgresql://me:hunter2@host/")
        response = await idle_api.client.get("/readyz")
        assert (response.status_code, response.json()["status"]) == (503, "away")
        assert [reason["code"] for reason in response.json()["reasons"]] == ["tracker_away"]
        assert "hunter2" not in response.text

    async def test_not_if_the_tracker_does_not_answer(
        self, idle_api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def read(query: Query[Any]) -> Any:
            return await asyncio.get_running_loop().create_future()

        monkeypatch.setattr(health_routes, "_READY_SECONDS", 0.05)
        idle_api.service.backend.read = read  # type: ignore[method-assign]
        assert (await idle_api.client.get("/readyz")).status_code == 503

    async def test_not_without_the_database(self, idle_api: Api) -> None:
        idle_api.service.tracker.ticker.access.error = "no space left on device"
        response = await idle_api.client.get("/readyz")
        assert response.status_code == 503
        [reason] = response.json()["reasons"]
        assert reason["code"] == "database_away"
        assert "no space left" not in response.text  # it is for everybody
        assert (await idle_api.client.get("/health")).status_code == 503


@pytest.fixture
async def keyed_api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with locked(sqlite_url, tmp_path, debug=False) as api:
        yield api


async def test_only_an_operator_sees_the_end_of_a_log(keyed_api: Api) -> None:
    real = keyed_api.service.backend.read
    reason = {
        "code": "runners_cannot_start", "message": "m", "fix": "f", "since": 1.5, "count": 2,
        "log": ["Traceback", "secret"],
    }  # fmt: skip

    async def read(query: Query[Any]) -> Any:
        found = await real(query)
        if isinstance(query, Health):
            found["reasons"] = [dict(reason)]
        return found

    keyed_api.service.backend.read = read  # type: ignore[method-assign]
    for name, sees in (("r", False), ("a", True)):
        answer = await keyed_api.client.get("/health", headers=bearer(name))
        [shown] = answer.json()["reasons"]
        assert (shown.get("log") == reason["log"]) is sees
        assert (shown["since"], shown["count"]) == (1.5, 2)
