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


@pytest.fixture(scope="module")
def shared_folder(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the one service of a module; its `tasks.db` has our tables."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(sqlite_template, folder / "tasks.db")
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calm_api(shared_folder: Path) -> AsyncIterator[Api]:
    """The API without a runner, shared by tests of a module that change nothing.

    They need `@pytest.mark.asyncio(loop_scope="module")`.
    """
    service = LocalService(f"sqlite:///{shared_folder}/tasks.db", shared_folder)
    async with serving(service, runner=False) as api:
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def locked_api(shared_folder: Path) -> AsyncIterator[Api]:
    """The API with `API_KEYS`, without DEBUG and runners, shared by the tests of a module.

    They need `@pytest.mark.asyncio(loop_scope="module")`.
    """
    url = f"sqlite:///{shared_folder}/tasks.db"
    async with locked(url, shared_folder, debug=False) as api:
        yield api
