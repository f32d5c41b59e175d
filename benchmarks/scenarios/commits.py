"""The databases' own rates: durable commits of one row, and of fifty, through their plain drivers.

SQLite has `synchronous=FULL` in WAL mode, as in raytasks; PostgreSQL is as it comes.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence

import psycopg

from benchmarks.measures import Result
from benchmarks.scenarios.place import Place
from benchmarks.servers.postgres import running_postgres

_MANY = 50
_TEXT = "x" * 200

Rows = Sequence[tuple[int, str]]


def measure(place: Place) -> Result:
    """Return how many one-row commits there are in a second, and rows in commits of fifty."""
    result = Result({})
    place.folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(place.folder / "commits.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")

    def sqlite_commit(rows: Rows) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO rows VALUES (?, ?)", rows)
        connection.execute("COMMIT")

    result.add(_measured(sqlite_commit, place.sizes.commit_seconds), "sqlite.")
    connection.close()
    with running_postgres() as server, psycopg.connect(server.new_database()) as postgres:
        postgres.execute("CREATE TABLE rows (id BIGINT PRIMARY KEY, text TEXT NOT NULL)")
        postgres.commit()

        def postgres_commit(rows: Rows) -> None:
            with postgres.transaction(), postgres.cursor() as cursor:
                cursor.executemany("INSERT INTO rows VALUES (%s, %s)", rows)

        result.add(_measured(postgres_commit, place.sizes.commit_seconds), "postgresql.")
    return result


def _measured(commit: Callable[[Rows], None], seconds: float) -> Result:
    numbers = {}
    first = 0
    for size, name in ((1, "one_row.per_second"), (_MANY, "rows_in_fifties.per_second")):
        began = time.perf_counter()
        count = 0
        while (taken := time.perf_counter() - began) < seconds:
            commit([(first + n, _TEXT) for n in range(size)])
            first += size
            count += size
        numbers[name] = count / taken
    return Result(numbers)
