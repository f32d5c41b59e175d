"""PostgreSQL under pressure: log, held snapshots, and a large history, through `run_tick`.

    python -m benchmarks.postgres_pressure [wal] [snapshot] [history] [--seconds S] [--finished N]

- `wal`: bytes of log a task, with and without full-page images, each after two checkpoints; and how
  many updates were HOT. By how many tasks a tick has.
- `snapshot`: milliseconds of a tick at 100 ticks a second. It measures before a snapshot is held,
  at the end of `--seconds` with it, and after it. The long form is `--seconds 600`.
- `history`: tasks a second of a drain. It measures with no finished tasks beside it, with
  `--finished` of them, and while they are pruned. Pruning takes a tenth of the time.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.servers.postgres import Postgres, running_postgres
from benchmarks.ticking import TYPE, Ticking, ended, new_tasks
from raytasks.model.tasks import Running

SIZES = (1, 8, 128)
WAYS = ("wal", "snapshot", "history")
_TICK_SECONDS = 0.01
_SIDE_SECONDS = 10.0
_DRAINED = 20_000
_DRAIN_SIZE = 200
_PRUNED = 500
_PRUNING_SHARE = 0.1

_FINISHED = """
INSERT INTO tasks (task_id, task_type, state, payload, result, priority, rank, ready, attempt,
  max_attempts, failures, crashes, cancel_requested, created_at, run_at, claimed_at, started_at,
  finished_at, updated_at, namespace, revision, has_files, lane, snoozes)
SELECT gen_random_uuid(), %(type)s, 'COMPLETED', '{}', 'null', 0, t.at, FALSE, 1, 3, 0, 0, FALSE,
  t.at, t.at, t.at, t.at, t.at, t.at, 'default', 2, FALSE, '', 0
FROM (SELECT extract(epoch FROM now()) - 1e6 + n * 1e-3 AS at
      FROM generate_series(1, %(number)s) AS n) AS t
"""
_THEIR_ATTEMPTS = """
INSERT INTO attempts
  (task_id, attempt, outcome, runner_id, started_at, finished_at, state, revision)
SELECT task_id, 1, 'SUCCEEDED', 'runner-1', started_at, finished_at, state, 2 FROM tasks
"""
_THEIR_COUNT = """
INSERT INTO task_counts (namespace, task_type, state, tasks)
VALUES ('default', %(type)s, 'COMPLETED', %(number)s)
ON CONFLICT (namespace, task_type, state) DO UPDATE SET tasks = task_counts.tasks + EXCLUDED.tasks
"""


@contextmanager
def _plain(url: str) -> Iterator[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection


def measure_wal(server: Postgres, tasks: int) -> dict[str, float]:
    """Return bytes of log a task, and the share of HOT updates, by the size of a tick."""
    found: dict[str, float] = {}
    for images in (True, False):
        for size in SIZES:
            url = server.new_database()
            ticking = Ticking(url)
            ticking.life(8 * size, size)
            number = max(size, tasks // size * size if size > 1 else tasks // 4)
            with _plain(url) as plain:
                plain.execute(f"ALTER SYSTEM SET full_page_writes = {'on' if images else 'off'}")
                plain.execute("SELECT pg_reload_conf()")
                for _ in range(2):
                    plain.execute("CHECKPOINT")
                [before] = plain.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
                ticking.single(number, size)
                [taken] = plain.execute(
                    "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", [before]
                ).fetchone()
                found[f"{size}.{'with' if images else 'without'}_images"] = float(taken) / number
                if not images:
                    ticking.close()  # the server's figures are complete when a session has ended
                    found[f"{size}.hot_share"] = _hot_share(plain)
            ticking.close()
    return found


def _hot_share(plain: Any) -> float:
    plain.execute("SELECT pg_sleep(1.1)")  # sessions tell what they did once a second
    statement = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'tasks'"
    updated, hot = plain.execute(statement).fetchone()
    return float(hot) / updated if updated else 1.0


def measure_snapshot(server: Postgres, seconds: float) -> dict[str, float]:
    """Return the milliseconds of ticks before, at the end of, and after a held snapshot."""
    url = server.new_database()
    ticking = Ticking(url)
    steady = _Steady(ticking)
    found = {"before": steady.run(_SIDE_SECONDS)}
    with psycopg.connect(url) as holder:
        holder.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM tasks")
        steady.run(max(0.0, seconds - _SIDE_SECONDS))
        found["at_the_end"] = steady.run(_SIDE_SECONDS)
    found["after"] = steady.run(_SIDE_SECONDS)
    found["later"] = steady.run(min(seconds, 60.0) - _SIDE_SECONDS)
    found["growth"] = found["at_the_end"] / found["before"]
    ticking.close()
    return found


class _Steady:
    """Ticks at a steady rate; each stores a task, claims it, and ends the one before."""

    def __init__(self, ticking: Ticking) -> None:
        self._ticking = ticking
        self._running: list[Running] = []

    def run(self, seconds: float) -> float:
        """Do ticks for so long; return the median milliseconds of one."""
        begin, taken = time.perf_counter(), []
        for number in range(int(seconds / _TICK_SECONDS)):
            began = time.perf_counter()
            self._running = self._ticking.claimed(
                1, only_new=True, submissions=new_tasks(1), outcomes=ended(self._running)
            )
            now = time.perf_counter()
            taken.append(now - began)
            time.sleep(max(0.0, begin + (number + 1) * _TICK_SECONDS - now))
        return 1000 * statistics.median(taken) if taken else 0.0


def measure_history(server: Postgres, finished: int) -> dict[str, float]:
    """Return tasks a second of drains: of an empty database, of a full one, and while it prunes."""
    empty, full = Ticking(server.new_database()), Ticking(url := server.new_database())
    values = {"type": TYPE, "number": finished}
    with _plain(url) as plain:
        plain.execute(_FINISHED, values)
        plain.execute(_THEIR_ATTEMPTS)
        plain.execute(_THEIR_COUNT, values)
        plain.execute("VACUUM ANALYZE")
    gathered: dict[str, list[float]] = {}
    for _ in range(3):
        for name, ticking, prunes in (
            ("none", empty, False),
            ("finished", full, False),
            ("pruned", full, True),
        ):
            gathered.setdefault(name, []).append(_drain(ticking, prunes=prunes))
    empty.close()
    full.close()
    found = {name: statistics.median(rates) for name, rates in gathered.items()}
    found["finished_ratio"] = found["finished"] / found["none"]
    found["pruned_ratio"] = found["pruned"] / found["finished"]
    return found


def _drain(ticking: Ticking, *, prunes: bool) -> float:
    ticking.submit(_DRAINED, _DRAIN_SIZE)
    running: list[Running] = []
    began, pruning = time.perf_counter(), 0.0
    for _ in range(_DRAINED // _DRAIN_SIZE):
        running = ticking.claimed(_DRAIN_SIZE, outcomes=ended(running))
        assert len(running) == _DRAIN_SIZE
        now = time.perf_counter()
        if prunes and pruning < _PRUNING_SHARE * (now - began):
            before = time.time() - 1000.0
            ticking.tick(prunings=[(list(ticking.store.expired(before, _PRUNED)), before)])
            pruning += time.perf_counter() - now
    ticking.tick(outcomes=ended(running))
    return _DRAINED / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("ways", nargs="*", choices=[*WAYS, []], default=list(WAYS))
    parser.add_argument("--tasks", type=int, default=2000, help="how many, for `wal`")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long a snapshot is held")
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path, help="a file to write the numbers to")
    asked = parser.parse_args()
    numbers: dict[str, float] = {}
    with running_postgres() as server:
        if "wal" in asked.ways:
            found = measure_wal(server, asked.tasks)
            numbers |= {f"wal.{name}": number for name, number in found.items()}
        if "snapshot" in asked.ways:
            found = measure_snapshot(server, asked.seconds)
            numbers |= {f"snapshot.{name}": number for name, number in found.items()}
        if "history" in asked.ways:
            found = measure_history(server, asked.finished)
            numbers |= {f"history.{name}": number for name, number in found.items()}
    for name, number in numbers.items():
        print(f"{name:<28}{number:>14,.2f}")
    if asked.json:
        asked.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    main()
