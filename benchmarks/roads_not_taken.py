"""Two designs that raytasks does not have: what they would save, and what they would cost.

The document on performance says why not.

    python -m benchmarks.roads_not_taken [head] [days]
- `head`: the due head of the queue in the tracker's memory. It would save the selection of tasks to
  claim. So its gain is at most the selection's share of a drain, measured on both databases.
- `days`: the tasks in a table for each day, on PostgreSQL, so that old ones go with their table. It
  would save the deletion of single tasks. Each look by anything else than an id has to go through
  all tables. Both are measured, with 30 days beside one table of the same rows.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import psycopg

from benchmarks.servers.postgres import running_postgres
from benchmarks.ticking import Ticking
from raytasks.store import candidates

DAYS = 30
_TASKS = 20_000
_SIZE = 128
_ROUNDS = 200
_PRUNED = 500

_LOOKS = {
    "claim": (
        "SELECT task_id FROM {table} WHERE ready AND task_type = 'noop' AND lane = '' "
        "ORDER BY rank, task_id LIMIT 128"
    ),
    "next_due": (
        "SELECT min(run_at) FROM {table} "
        "WHERE NOT ready AND runner_id IS NULL AND finished_at IS NULL"
    ),
    "list": (
        "SELECT task_id FROM {table} WHERE state = 'COMPLETED' AND namespace = 'default' "
        "ORDER BY task_id DESC LIMIT 50"
    ),
    "by_id": "SELECT task_id FROM {table} WHERE task_id = '{task_id}'",
}
_FILL = """
INSERT INTO {table} (task_id, task_type, state, payload, result, priority, rank, ready, attempt,
  max_attempts, failures, crashes, cancel_requested, created_at, run_at, finished_at, updated_at,
  namespace, revision, snoozes, lane)
SELECT (lpad(to_hex(((day * 86400000 + n) / 65536)::bigint), 8, '0') || '-'
  || lpad(to_hex(((day * 86400000 + n) % 65536)::bigint), 4, '0')
  || '-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid,
  'noop', CASE WHEN n % 10 = 0 THEN 'PENDING' ELSE 'COMPLETED' END, '{{}}', 'null', 0,
  day * 86400 + n, n % 10 = 0, 1, 3, 0, 0, FALSE, day * 86400 + n, day * 86400 + n,
  CASE WHEN n % 10 = 0 THEN NULL ELSE day * 86400 + n END, day * 86400 + n, 'default', 2, 0, ''
FROM generate_series(0::bigint, {days} - 1) AS day, generate_series(1::bigint, {each}) AS n
"""


def measure_head(url: str) -> dict[str, float]:
    """Return the share of the selection of tasks in a drain, and microseconds of both a task."""
    ticking, selecting = Ticking(url), 0.0
    read = candidates.read_candidates

    def timed(*given: Any, **named: Any) -> Any:
        nonlocal selecting
        given[0].flush()  # what was sent before it is not a part of it
        began = time.perf_counter()
        found = read(*given, **named)
        selecting += time.perf_counter() - began
        return found

    ticking.submit(_TASKS, _SIZE)
    with mock.patch.object(candidates, "read_candidates", timed):
        began = time.perf_counter()
        ticking.drain(_TASKS // _SIZE * _SIZE, _SIZE)
        seconds = time.perf_counter() - began
    ticking.close()
    return {
        "drain_us": 1e6 * seconds / _TASKS,
        "select_us": 1e6 * selecting / _TASKS,
        "share": selecting / seconds,
    }


def measure_days(url: str) -> dict[str, float]:
    """Return milliseconds of looks in one table and in one for each day, and of both deletions."""
    ticking = Ticking(url)
    with psycopg.connect(url, autocommit=True) as connection:
        _make_days(connection)
        each = _TASKS // DAYS
        for table in ("tasks", "by_day"):
            connection.execute(_FILL.format(table=table, days=DAYS, each=each))
        connection.execute("VACUUM ANALYZE tasks")
        connection.execute("VACUUM ANALYZE by_day")
        [task_id] = connection.execute("SELECT max(task_id::text) FROM tasks").fetchone() or [None]
        found: dict[str, float] = {}
        for name, query in _LOOKS.items():
            for table in ("tasks", "by_day"):
                text = query.format(table=table, task_id=task_id)
                found[f"{name}.{table}_ms"] = _milliseconds(partial(connection.execute, text))
        began = time.perf_counter()
        connection.execute("DROP TABLE day_0")
        found["delete.by_day_ms"] = 1000 * (time.perf_counter() - began)
    taken = []
    for _ in range(20):
        old = list(ticking.store.expired(1e9, _PRUNED))
        began = time.perf_counter()
        ticking.tick(prunings=[(old, 1e9)])
        taken.append(1000 * (time.perf_counter() - began) * each / len(old))
    found["delete.tasks_ms"] = statistics.median(taken)
    found["tasks_of_a_day"] = each
    ticking.close()
    return found


def _make_days(connection: Any) -> None:
    connection.execute(
        "CREATE TABLE by_day (LIKE tasks INCLUDING DEFAULTS) PARTITION BY RANGE (task_id)"
    )
    for day in range(DAYS):
        first, end = (f"{_hex(day + more)}-7000-0000-000000000000" for more in (0, 1))
        connection.execute(
            f"CREATE TABLE day_{day} PARTITION OF by_day FOR VALUES FROM ('{first}') TO ('{end}')"
        )
    connection.execute("ALTER TABLE by_day ADD PRIMARY KEY (task_id)")
    rows = connection.execute("SELECT indexdef FROM pg_indexes WHERE tablename = 'tasks'")
    for number, (text,) in enumerate(rows.fetchall()):
        if " UNIQUE " in text:  # no unique index but of the id can span the tables
            continue
        _, _, columns = text.partition(" USING ")
        connection.execute(f"CREATE INDEX by_day_{number} ON by_day USING {columns}")


def _hex(day: int) -> str:
    number = f"{day * 86_400_000:012x}"
    return f"{number[:8]}-{number[8:]}"


def _milliseconds(call: Callable[[], object]) -> float:
    taken = []
    for _ in range(_ROUNDS):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return 1000 * statistics.median(taken)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("ways", nargs="*", default=["head", "days"])
    asked = parser.parse_args()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(running_postgres())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if "head" in asked.ways:
            _tell("head.sqlite", measure_head(f"sqlite:///{folder / 'tasks.db'}"))
            _tell("head.postgresql", measure_head(server.new_database()))
        if "days" in asked.ways:
            _tell("days", measure_days(server.new_database()))


def _tell(way: str, numbers: dict[str, float]) -> None:
    print(way, json.dumps({name: round(value, 3) for name, value in numbers.items()}))


if __name__ == "__main__":
    main()
