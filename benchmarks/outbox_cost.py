"""The cost of the outbox: for a user's transaction, from commit to start, and while nothing comes.

    python -m benchmarks.outbox_cost [--pairs N] [--transactions N] [--starts N] [--idle SECONDS]

- `insert`: a user's transaction with an order and a row of another table, against one with an order
  and `outbox.submit`. The pairs are interleaved; their ratio is the median.
- `start`: from the return of a commit to the beginning of the task's attempt, with a nudge and
  without one. The service is in this process, without Ray: API, tracker and a warm runner.
- `idle`: processor time of a tracker with nothing to do, with the reader of the outbox and without.

The database is PostgreSQL as it comes, with `fsync` on.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
from sqlalchemy import Connection, create_engine, text

from benchmarks.servers.postgres import running_postgres
from raytasks import outbox
from raytasks.client import Client
from raytasks.store.database_url import parse_url
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker
from raytasks.tracker.outbox_reader import OutboxReader
from tests.local_service import LocalService, served
from tests.outbox_tools import info

_PAYLOAD = {"order_id": 17, "note": "x" * 100}
_TABLES = (
    "CREATE TABLE orders (order_id bigserial PRIMARY KEY, note text NOT NULL)",
    "CREATE TABLE mails (id uuid PRIMARY KEY, kind text NOT NULL, namespace text NOT NULL, "
    "document text NOT NULL, created_at double precision NOT NULL)",
)
_ORDER = text("INSERT INTO orders (note) VALUES (:note)")
_MAIL = text(
    "INSERT INTO mails (id, kind, namespace, document, created_at) "
    "VALUES (CAST(:id AS uuid), :kind, :namespace, :document, :created_at)"
)


def _migrated(url: str) -> str:
    store = Store(url)
    store.upgrade()
    store.close()
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _TABLES:
            connection.execute(statement)
    return url


def _with_order_only(connection: Connection) -> None:
    connection.execute(_ORDER, {"note": "x" * 100})


def _with_mail(connection: Connection) -> None:
    """Insert a row as long as that of the outbox."""
    _with_order_only(connection)
    task = outbox.prepare("send_invoice", _PAYLOAD)
    connection.execute(_MAIL, task.values)


def _with_task(connection: Connection) -> None:
    _with_order_only(connection)
    outbox.submit(connection, "send_invoice", _PAYLOAD)


def insert(url: str, pairs: int, transactions: int) -> dict[str, Any]:
    """Measure users' transactions, in microseconds each."""
    engine = create_engine(parse_url(url))

    def measured(work: Callable[[Connection], None]) -> float:
        began = time.perf_counter()
        for _ in range(transactions):
            with engine.begin() as connection:
                work(connection)
        return (time.perf_counter() - began) / transactions * 1e6

    with patch("raytasks.outbox.connections.nudge"):
        kinds = {"order": _with_order_only, "plain": _with_mail, "outbox": _with_task}
        for work in kinds.values():
            measured(work)
        rounds = [{name: measured(work) for name, work in kinds.items()} for _ in range(pairs)]
    engine.dispose()
    return {
        "microseconds": {
            name: round(statistics.median(item[name] for item in rounds)) for name in kinds
        },
        "ratio_to_plain": round(
            statistics.median(item["outbox"] / item["plain"] for item in rounds), 3
        ),
        "ratios": [round(item["outbox"] / item["plain"], 3) for item in rounds],
        "ratio_to_order_only": round(
            statistics.median(item["outbox"] / item["order"] for item in rounds), 3
        ),
    }


def start(url: str, folder: Path, number: int) -> dict[str, Any]:
    """Measure from the return of a commit to the beginning of the attempt, in milliseconds."""
    draw = random.Random(1)
    service = LocalService(url, folder, task_modules=("tests.outbox_handlers",))
    engine = create_engine(parse_url(url))
    found: dict[str, Any] = {}
    with (
        served(service) as place,
        Client(place) as client,
        patch.dict("os.environ", {"RAYTASKS_URL": place}),
    ):
        for name, nudges in (("nudged", True), ("not_nudged", False)):
            committed: dict[str, float] = {}
            for _ in range(number):
                time.sleep(draw.uniform(0.01, 0.3))
                with engine.begin() as connection:
                    connection.execute(_ORDER, {"note": "x"})
                    task_id = outbox.submit(
                        connection, "send_invoice", {"order_id": 1}, nudges=nudges
                    )
                committed[task_id] = time.time()
            for task_id in committed:
                client.wait(task_id)
            with psycopg.connect(url) as connection:
                rows = connection.execute("SELECT task_id::text, started_at FROM tasks").fetchall()
            waits = sorted(
                (at - committed[task_id]) * 1000 for task_id, at in rows if task_id in committed
            )
            found[name] = {
                "p50": round(waits[len(waits) // 2], 1),
                "p95": round(waits[int(len(waits) * 0.95)], 1),
                "max": round(waits[-1], 1),
                "tasks": len(waits),
            }
    engine.dispose()
    return found


async def _idle(url: str, seconds: float) -> float:
    tracker = Tracker(Store(url))
    tracker.set_handlers([info()])
    await tracker.start()
    running = asyncio.ensure_future(tracker.run())
    await asyncio.sleep(2.0)
    began = time.process_time()
    await asyncio.sleep(seconds)
    used = time.process_time() - began
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await tracker.close()
    return used / seconds * 100


async def _never(_reader: OutboxReader) -> None:
    """Read nothing."""


def idle(url: str, seconds: float) -> dict[str, float]:
    """Measure the processor time of an idle tracker, in percent of a core."""
    with_reader = asyncio.run(_idle(url, seconds))
    with patch.object(OutboxReader, "run", _never):
        without = asyncio.run(_idle(url, seconds))
    return {"percent_with": round(with_reader, 2), "percent_without": round(without, 2)}


def main() -> None:
    """Print a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--transactions", type=int, default=400)
    parser.add_argument("--starts", type=int, default=150)
    parser.add_argument("--idle", type=float, default=15.0)
    asked = parser.parse_args()
    with running_postgres() as server, tempfile.TemporaryDirectory() as folder:
        url = _migrated(server.new_database())
        found = {
            "insert": insert(url, asked.pairs, asked.transactions),
            "start": start(_migrated(server.new_database()), Path(folder), asked.starts),
            "idle": idle(_migrated(server.new_database()), asked.idle),
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
