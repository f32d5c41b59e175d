"""The cost of a tick for the database: tasks a second through `run_tick`, without Ray and HTTP.

    python -m benchmarks.store_cost [--tasks N] [--rounds N] [--on sqlite postgresql]

For each size of a tick it measures four kinds. A `submit` stores new tasks. A `drain` ends the
attempts of the tick before and claims the next ones, until all are done. A `life` does all of it in
each tick. A `single` stores and claims in one tick, and ends in the next. Beside them stands the
plain driver: rows a second, inserted in commits of the same size.
"""

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import uuid_utils

from benchmarks.servers.postgres import running_postgres
from benchmarks.ticking import Ticking

SIZES = (1, 8, 128)
KINDS = ("submit", "drain", "life", "single")
_TEXT = "x" * 200
_SMALL_SHARE = 8  # ticks of few tasks: so many times fewer tasks, as each tick has its commit


def _measure(url: str, size: int, tasks: int) -> dict[str, float]:
    """Return tasks a second, by what is done, and the milliseconds of a tick of `life`."""
    tasks = max(size, tasks // (1 if size >= _SMALL_SHARE else _SMALL_SHARE)) // size * size
    tracker = Ticking(url)
    tracker.life(8 * size, size)  # warm
    found = {}
    for name in KINDS:
        work: Callable[[int, int], None] = getattr(tracker, name)
        began = time.perf_counter()
        work(tasks, size)
        taken = time.perf_counter() - began
        found[f"{name}.per_second"] = tasks / taken
    found["tick_ms"] = 1000 * size / found["life.per_second"]
    tracker.close()
    return found


def _plain_sqlite(file: Path, size: int, rows: int) -> float:
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE plain (id TEXT PRIMARY KEY, text TEXT NOT NULL)")

    def commit(batch: Sequence[tuple[str, str]]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO plain VALUES (?, ?)", batch)
        connection.execute("COMMIT")

    try:
        return _plain(commit, size, rows)
    finally:
        connection.close()


def _plain_postgresql(url: str, size: int, rows: int) -> float:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE plain (id UUID PRIMARY KEY, text TEXT NOT NULL)")
        connection.commit()

        def commit(batch: Sequence[tuple[str, str]]) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany("INSERT INTO plain VALUES (%s, %s)", batch)

        return _plain(commit, size, rows)


def _plain(commit: Callable[[Sequence[tuple[str, str]]], None], size: int, rows: int) -> float:
    rows = max(size, rows // (1 if size >= _SMALL_SHARE else _SMALL_SHARE)) // size * size
    began = time.perf_counter()
    for _ in range(rows // size):
        commit([(str(uuid_utils.uuid7()), _TEXT) for _ in range(size)])
    return rows / (time.perf_counter() - began)


Fresh = Callable[[], str]


@contextmanager
def _databases(kinds: Sequence[str]) -> Iterator[dict[str, Fresh]]:
    """For each kind of database, a function that makes a fresh one and returns its URL."""
    with ExitStack() as stack:
        found: dict[str, Fresh] = {}
        if "sqlite" in kinds:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="store-cost-"))
            files = (Path(folder) / f"{n}.db" for n in range(1_000_000))
            found["sqlite"] = lambda: f"sqlite:///{next(files)}"
        if "postgresql" in kinds:
            found["postgresql"] = stack.enter_context(running_postgres()).new_database
        yield found


def measure(kinds: Sequence[str], tasks: int, rounds: int) -> dict[str, float]:
    """Return the medians of the rounds."""
    gathered: dict[str, list[float]] = {}
    with _databases(kinds) as databases:
        for _ in range(rounds):
            for kind, fresh in databases.items():
                for size in SIZES:
                    numbers = _measure(fresh(), size, tasks)
                    url = fresh()
                    if kind == "sqlite":
                        plain = _plain_sqlite(Path(url.removeprefix("sqlite:///")), size, tasks)
                    else:
                        plain = _plain_postgresql(url, size, tasks)
                    for name, number in (numbers | {"plain.rows_per_second": plain}).items():
                        gathered.setdefault(f"{kind}.{size}.{name}", []).append(number)
    return {name: statistics.median(numbers) for name, numbers in gathered.items()}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=6_000, help="how many, in each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--on", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--json", type=Path, help="a file to write the numbers to")
    asked = parser.parse_args()
    numbers = measure(asked.on, asked.tasks, asked.rounds)
    names = ("plain.rows", *KINDS)
    print(f"{'':<12}{'tick':>6}" + "".join(f"{name + '/s':>14}" for name in names) + f"{'ms':>9}")
    for kind in asked.on:
        for size in SIZES:
            key = f"{kind}.{size}"
            rates = [numbers[f"{key}.plain.rows_per_second"]]
            rates += [numbers[f"{key}.{name}.per_second"] for name in names[1:]]
            line = "".join(f"{rate:>14,.0f}" for rate in rates)
            print(f"{kind:<12}{size:>6}{line}{numbers[f'{key}.tick_ms']:>9.2f}")
    if asked.json:
        asked.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
