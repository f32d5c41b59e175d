"""Measures how long the migrations of 100,000 tasks of 0.1.0 take.

python -m tests.upgrade.measure
"""

import tempfile
import time
from pathlib import Path

from raytasks.store.store import Store
from tests.postgres_server import PostgresServer
from tests.upgrade.dumped import TASKS, load_postgresql, load_sqlite


def main() -> None:
    """Upgrade both dumps, and print the seconds."""
    with tempfile.TemporaryDirectory(prefix="raytasks-upgrade-") as name:
        folder = Path(name)
        _measure("SQLite", load_sqlite(folder / "tasks.db"))
        server = PostgresServer(folder / "postgres", folder)
        try:
            server.run("CREATE DATABASE released")
            _measure("PostgreSQL", load_postgresql(server.url("released")))
        finally:
            server.remove()


def _measure(kind: str, url: str) -> None:
    store = Store(url)
    begun = time.monotonic()
    store.upgrade()
    seconds = time.monotonic() - begun
    store.close()
    print(f"{kind}: {TASKS:,} tasks in {seconds:.2f} seconds")


if __name__ == "__main__":
    main()
