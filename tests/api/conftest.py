"""The API in this process, with and without a runner."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.keyring import locked
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calm_api(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """The API without a runner, shared by tests of a module that change nothing.

    They need `@pytest.mark.asyncio(loop_scope="module")`.
    """
    folder = tmp_path_factory.mktemp("calm")
    url = f"sqlite:///{shutil.copy(sqlite_template, folder / 'tasks.db')}"
    async with serving(LocalService(url, folder), runner=False) as api:
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def locked_api(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Api]:
    """The API with `API_KEYS`, without DEBUG and runners, shared by the tests of a module.

    They need `@pytest.mark.asyncio(loop_scope="module")`.
    """
    folder = tmp_path_factory.mktemp("locked")
    url = f"sqlite:///{shutil.copy(sqlite_template, folder / 'tasks.db')}"
    async with locked(url, folder, debug=False) as api:
        yield api
