"""Fixtures of all tests: databases, and hypothesis' profiles. No Ray here."""

import gc
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from raytasks.api import live_view
from raytasks.store.store import Store
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW
from tests.postgres_server import PostgresServer, migrate
from tests.tracking import FaultyStore, tracker_on

pytest_plugins = [
    "tests.hanging",
    "tests.measuring",
    "tests.quick_apps",
    "tests.quick_repeats",
    "tests.scheduling",
]

os.environ["COLUMNS"] = "120"  # tables of the command line are as wide on each terminal

# The same examples in each run and on each machine, whatever its speed; `make fuzz` draws others.
# Nothing is made smaller there, nor explained: a time limit's exception is taken for one more
# failure, and the search goes on.
settings.register_profile(
    "fixed",
    derandomize=True,
    database=None,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "drawn",
    settings.get_profile("fixed"),
    derandomize=False,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    max_examples=1000,
    print_blob=True,
)
settings.load_profile("fixed")


def pytest_collection_finish() -> None:
    """Let the garbage collector pass over what stays: modules and tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The server of the test session."""
    # Not below pytest's own folder: another session of pytest closes that to the server's user.
    folder = Path(tempfile.mkdtemp(prefix="raytasks-postgres-"))
    server = PostgresServer(folder, tmp_path_factory.mktemp("runtime"))
    yield server
    server.remove()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database with our tables, for one test."""
    url = postgres_server.copies.take()
    yield url
    postgres_server.copies.give_back(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with our tables, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    migrate(f"sqlite:///{file}")
    return file


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """An SQLite database with our tables, for one test."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'tasks.db')}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """A database with our tables, for one test: the test runs over each kind."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def open_store() -> Iterator[Callable[..., Store]]:
    """Open stores that are closed when the test ends."""
    stores: list[Store] = []

    def open_one(url: str, **options: Any) -> Store:
        stores.append(Store(url, **options))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


@pytest.fixture
def store(store_url: str, open_store: Callable[..., Store]) -> Store:
    """A store on a database of each kind."""
    return open_store(store_url)


@pytest.fixture
def clock() -> FakeClock:
    """A clock that only the test moves."""
    return FakeClock(NOW)


@pytest.fixture
def faulty_store(sqlite_url: str) -> FaultyStore:
    """A store that fails when the test says so."""
    return FaultyStore(sqlite_url)


@pytest.fixture
async def tracker(faulty_store: FaultyStore, clock: FakeClock) -> AsyncIterator[Tracker]:
    """A tracker that runs, with a clock that only the test moves."""
    async with tracker_on(faulty_store, clock=clock) as tracker:
        yield tracker


@pytest.fixture(autouse=True, scope="session")
def _patient_view() -> Iterator[None]:
    """Wait long for the tracker's part of a task: on a busy machine it would be left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live_view, "MAX_SECONDS", 30.0)
        yield
