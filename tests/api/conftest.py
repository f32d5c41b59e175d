"""The API in this process, with and without a runner."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from local_service import LocalService


class Api:
    """A client of the API, and the service behind it."""

    def __init__(self, service: LocalService, client: httpx.AsyncClient) -> None:
        self.service = service
        self.client = client

    async def submit(self, **request: Any) -> dict[str, Any]:
        """Submit a task (by default one that succeeds), and return it."""
        body = {"task_type": "scripted", "payload": {}} | request
        response = await self.client.post("/tasks/", json=body)
        assert response.status_code == 202, response.text
        task: dict[str, Any] = response.json()
        return task

    async def finished(self, task: dict[str, Any]) -> dict[str, Any]:
        """Wait until a task has ended, and return it."""
        response = await self.client.get(f"/tasks/{task['task_id']}", params={"wait": 20})
        assert response.status_code == 200, response.text
        ended: dict[str, Any] = response.json()
        assert ended["finished_at"] is not None, ended
        return ended

    async def begun(self, task: dict[str, Any]) -> None:
        """Wait until an attempt of a task runs."""
        epoch, after = 0, -1
        while True:
            feed = await self.service.tracker.changes(epoch, after, 20)
            epoch, after = feed.epoch, feed.last
            current = await self.client.get(f"/tasks/{task['task_id']}")
            if current.json()["state"] == "RUNNING":
                return

    async def total(self) -> int:
        """Return how many tasks are stored."""
        response = await self.client.get("/tasks/")
        total: int = response.json()["total"]
        return total


@contextlib.asynccontextmanager
async def serving(service: LocalService, *, runner: bool) -> AsyncIterator[Api]:
    """Run a service, and give a client of it."""
    async with asyncio.timeout(100), service.running(runner=runner), service.client() as client:
        yield Api(service, client)


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API with a runner: tasks run."""
    async with serving(LocalService(sqlite_url, tmp_path), runner=True) as api:
        yield api


@pytest.fixture
async def idle_api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API without a runner: tasks wait for ever. Small limits."""
    service = LocalService(sqlite_url, tmp_path, max_payload_bytes=2000, max_backlog=3)
    async with serving(service, runner=False) as api:
        yield api
