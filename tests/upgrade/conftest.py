"""A database of 0.1.0 with 100,000 tasks for each test, on SQLite and on PostgreSQL."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres_server import PostgresServer
from tests.upgrade.dumped import Content, load_postgresql, load_sqlite


@pytest.fixture(scope="session")
def old_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SQLite file as 0.1.0 has left it."""
    file = tmp_path_factory.mktemp("released") / "tasks.db"
    load_sqlite(file)
    return file


@pytest.fixture(scope="session")
def old_postgresql(postgres_server: PostgresServer) -> str:
    """The name of the PostgreSQL database as 0.1.0 has left it."""
    postgres_server.run("CREATE DATABASE released")
    load_postgresql(postgres_server.url("released"))
    return "released"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def old_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of 0.1.0, of each kind, for one test."""
    if request.param == "sqlite":
        file = request.getfixturevalue("old_sqlite")
        yield f"sqlite:///{shutil.copy(file, tmp_path / 'tasks.db')}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    template = request.getfixturevalue("old_postgresql")
    server.run(f"CREATE DATABASE upgraded TEMPLATE {template}")
    url = server.url("upgraded")
    yield url
    server.drop(url)


@pytest.fixture
def content(old_url: str) -> Iterator[Content]:
    """The content of the database."""
    found = Content(old_url)
    yield found
    found.close()
