"""The proof of the outbox: writers and the tracker are killed, and tasks are what was committed.

    python -m tests.outbox.proof [--transactions N] [--writers N] [--kills N] [--url URL]

Each transaction inserts an order and a task with the same id. Some are rolled back, and commits
are delayed by chance. So the orders are the truth, and the tasks must be the same. The short form
is a test. The database is a PostgreSQL of its own, or the one at the URL.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from raytasks import outbox

ROLLED_BACK = 0.3
_THREADS = 5
_PATIENCE = 120.0


@dataclass(frozen=True)
class Evidence:
    """The result: transactions that began, orders, tasks, and how often processes were killed."""

    transactions: int
    orders: int
    tasks: int
    missing: int
    strange: int
    left: int
    trackers_killed: int
    writers_killed: int
    out_of_order: int

    @property
    def holds(self) -> bool:
        """Whether the tasks are exactly the committed orders."""
        return not (self.missing or self.strange or self.left) and self.tasks == self.orders


def prepare(url: str) -> None:
    """Make the table of orders, and the count of transactions, which no rollback takes back."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE proof_orders (task_id uuid PRIMARY KEY, place bigserial NOT NULL)"
        )
        connection.execute("CREATE SEQUENCE proof_transactions")


def write(url: str, total: int, seed: int, max_delay: float) -> None:
    """Be a writer: begin transactions until so many have begun in all.

    A transaction is committed at most `max_delay` seconds after it has taken its id.
    """
    draw = random.Random(seed)
    with psycopg.connect(url) as connection:
        while True:
            row = connection.execute("SELECT nextval('proof_transactions')").fetchone()
            assert row is not None
            if row[0] > total:
                return
            task_id = outbox.submit(connection, "short", {"number": row[0]})
            connection.execute("INSERT INTO proof_orders (task_id) VALUES (%s)", (task_id,))
            time.sleep(draw.choice((0.0, 0.1, 0.1, 0.1, 0.1, max_delay)) * draw.random())
            if draw.random() < ROLLED_BACK:
                connection.rollback()
            else:
                connection.commit()


class _Killed:
    """A process that is killed now and then, and started again."""

    def __init__(self, start: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        self._start = start
        self.process = start()
        self.kills = 0

    def kill(self) -> None:
        """Kill it, and start it again if it had not ended."""
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills += 1
        self.process = self._start()

    def end(self) -> None:
        """Kill it for good."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()


def prove(
    url: str,
    *,
    transactions: int,
    writers: int,
    kills: int,
    max_delay: float = 2.0,
    seed: int = 1,
) -> Evidence:
    """Run writers and a tracker on a database with our tables, and compare what they leave.

    So many times one of them is killed, spread over the transactions: the tracker, then a writer.
    """
    draw = random.Random(seed)
    prepare(url)

    def run(*arguments: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-m", "tests.outbox.proof", *arguments])

    def writer() -> "subprocess.Popen[bytes]":
        threads = min(_THREADS, writers)
        return run(
            "--be-writers",
            str(threads),
            "--transactions",
            str(transactions),
            "--url",
            url,
            "--seed",
            str(draw.randrange(10**9)),
        )

    def tracker() -> "subprocess.Popen[bytes]":
        return run("--be-tracker", "--url", url)

    trackers = [_Killed(tracker)]
    _wait_for(url, 1, "SELECT epoch FROM tracker_epoch")
    others = [_Killed(writer) for _ in range(max(1, writers // _THREADS))]
    try:
        taken = 0
        for number in range(kills):
            _wait_for(url, transactions * (number + 1) // (kills + 1))
            if number % 2:
                draw.choice(others).kill()
            else:  # but not before it has taken something
                taken = _wait_for(url, taken + 1, "SELECT count(*) FROM tasks")
                trackers[0].kill()
        for other in others:
            other.process.wait(_PATIENCE)
        failed = [other.process.returncode for other in others if other.process.returncode]
        assert not failed, f"writers ended with {failed}"
        _wait_until_empty(url)
    finally:
        for other in (*trackers, *others):
            other.end()
    return _evidence(url, trackers[0].kills, sum(other.kills for other in others))


_BEGUN = "SELECT last_value FROM proof_transactions"


def _wait_for(url: str, place: int, statement: str = _BEGUN) -> int:
    """Wait until so many transactions have begun, or what else is counted; return the count."""
    end = time.monotonic() + _PATIENCE
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            row = connection.execute(statement).fetchone()
            assert row is not None
            if row[0] >= place:
                return int(row[0])
            assert time.monotonic() < end, f"after {row[0]} nothing goes on: {statement}"
            time.sleep(0.02)


def _wait_until_empty(url: str) -> None:
    end = time.monotonic() + _PATIENCE
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute("SELECT 1 FROM task_outbox LIMIT 1").fetchone() is not None:
            if time.monotonic() > end:
                return  # what is left is a part of the evidence
            time.sleep(0.05)


def _evidence(url: str, trackers_killed: int, writers_killed: int) -> Evidence:
    with psycopg.connect(url) as connection:

        def number(statement: str) -> int:
            row = connection.execute(statement).fetchone()
            assert row is not None
            return int(row[0])

        return Evidence(
            transactions=number("SELECT last_value FROM proof_transactions"),
            orders=number("SELECT count(*) FROM proof_orders"),
            tasks=number("SELECT count(*) FROM tasks WHERE state = 'PENDING'"),
            missing=number(
                "SELECT count(*) FROM proof_orders LEFT JOIN tasks USING (task_id) "
                "WHERE tasks.task_id IS NULL"
            ),
            strange=number(
                "SELECT count(*) FROM tasks LEFT JOIN proof_orders USING (task_id) "
                "WHERE proof_orders.task_id IS NULL"
            ),
            left=number("SELECT count(*) FROM task_outbox"),
            trackers_killed=trackers_killed,
            writers_killed=writers_killed,
            # Taken later than a task with a greater id: `id > last seen` would have missed it.
            out_of_order=number(
                "SELECT count(*) FROM (SELECT created_at, max(created_at) OVER "
                "(ORDER BY task_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before "
                "FROM tasks) AS found WHERE created_at < before"
            ),
        )


def _be_writers(url: str, threads: int, total: int, seed: int, max_delay: float) -> None:
    running = [
        threading.Thread(target=write, args=(url, total, seed + number, max_delay))
        for number in range(threads)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def main() -> int:
    """Print the evidence; return 1 if it does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=10_000)
    parser.add_argument("--writers", type=int, default=20)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-delay", type=float, default=2.0, help="of a commit, in seconds")
    parser.add_argument("--url")
    parser.add_argument("--be-writers", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--be-tracker", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.be_writers:
        _be_writers(asked.url, asked.be_writers, asked.transactions, asked.seed, asked.max_delay)
        return 0
    if asked.be_tracker:
        from tests.outbox.tracker_process import run_tracker

        run_tracker(asked.url)
        return 0
    from tests.postgres_server import PostgresServer  # not in the writers, which begin often

    with tempfile.TemporaryDirectory(prefix="raytasks-proof-") as folder:
        server = None if asked.url else PostgresServer(Path(folder) / "data", Path(folder))
        try:
            evidence = prove(
                asked.url or (server and server.new_database()) or "",
                transactions=asked.transactions,
                writers=asked.writers,
                kills=asked.kills,
                max_delay=asked.max_delay,
                seed=asked.seed,
            )
        finally:
            if server is not None:
                server.remove()
    print(evidence)
    return 0 if evidence.holds else 1


if __name__ == "__main__":
    sys.exit(main())
