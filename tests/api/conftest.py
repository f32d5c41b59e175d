"""The API in this process, with and without a runner."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.local_service import Api, LocalService, serving


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
