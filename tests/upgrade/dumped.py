"""Databases of 0.1.0, loaded from the dumps that `make_dumps` has made."""

import lzma
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text
from sqlalchemy.engine import Engine

from raytasks.store.database_url import parse_url
from tests.upgrade.make_dumps import BINARIES, DUMPS, POSTGRESQL, SQLITE

TASKS = 100_000
TABLES = ("tasks", "attempts", "task_counts", "task_tags", "task_logs", "bulk_operations")
"""Tables of 0.1.0, without the statistics, which a tracker that runs folds."""


def load_sqlite(file: Path) -> str:
    """Write the dump of SQLite into a file, and return its URL."""
    file.write_bytes(lzma.decompress((DUMPS / SQLITE).read_bytes()))
    return f"sqlite:///{file}"


def load_postgresql(url: str) -> str:
    """Fill an empty PostgreSQL database from the dump, and return its URL."""
    subprocess.run(
        [BINARIES / "psql", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null", url],
        input=lzma.decompress((DUMPS / POSTGRESQL).read_bytes()),
        check=True,
        timeout=60,
    )
    return url


class Content:
    """The content of a database, as plain SQL sees it, whatever version has written it."""

    def __init__(self, url: str) -> None:
        self._engine: Engine = create_engine(parse_url(url))

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        """Return what a statement finds."""
        with self._engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement), values)]

    def many(self, statement: str) -> frozenset[tuple[Any, ...]]:
        """Return what a statement without values finds, as the driver's own tuples.

        Of 100,000 rows, SQLAlchemy's take several times as long.
        """
        with self._engine.connect() as connection:
            return frozenset(connection.connection.cursor().execute(statement))

    def counts(self) -> dict[tuple[str, str, str], int]:
        """Return how many tasks there are by namespace, type and state."""
        statement = "SELECT namespace, task_type, state, count(*) FROM tasks GROUP BY 1, 2, 3"
        return {(space, kind, state): n for space, kind, state, n in self.rows(statement)}

    def sizes(self, tables: Sequence[str] = TABLES) -> dict[str, int]:
        """Return how many rows each table has."""
        return {name: self.rows(f"SELECT count(*) FROM {name}")[0][0] for name in tables}

    def tables(self) -> dict[str, int]:
        """Return a checksum of each table, of all its rows in whatever order."""
        names = (*TABLES, "alembic_version")
        return {name: hash(self.many(f"SELECT * FROM {name}")) for name in names}

    def of_fate(self, note: str, count: int = 1) -> list[str]:
        """Return the ids of the first tasks whose payload says that they came to this end."""
        statement = "SELECT task_id FROM tasks WHERE payload LIKE :note ORDER BY task_id LIMIT :n"
        found = self.rows(statement, note=f'%"{note}"%', n=count)
        return [str(task_id) for (task_id,) in found]

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
