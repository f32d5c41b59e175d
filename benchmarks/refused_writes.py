"""A database that refuses writes while runners hold finished results: `python -m …refused_writes`.

Eight runners hold 256 results of 64 KB each. For a minute nothing can be written, though everything
can be read: PostgreSQL is made read-only, or SQLite's file can no longer grow. It prints the growth
of the tracker's memory, how often it tried, and what `/health` said. It also prints how long after
that minute every result was on disk.
"""

import argparse
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import psycopg
from sqlalchemy.engine import make_url

from benchmarks.handlers import BLOB
from benchmarks.servers.postgres import Postgres
from benchmarks.servers.service import Service, running_service

RUNNERS = 8
RESULTS = 256
RESULT_BYTES = 64_000
_LOOK_SECONDS = 0.25
_SETTINGS = {"API_REPLICAS": "2", "WARM_RUNNERS_MIN": str(RUNNERS)}


@contextmanager
def refusing_postgres(url: str) -> Iterator[None]:
    """Make every transaction of the server read-only."""
    with psycopg.connect(url, autocommit=True) as connection:

        def say(value: str) -> None:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
            connection.execute("SELECT pg_reload_conf()")

        say("on")
        try:
            yield
        finally:
            say("off")


@contextmanager
def refusing_sqlite(service: Service, file: Path) -> Iterator[None]:
    """Let no file of the tracker grow beyond what the database has."""
    tracker = service.tracker()
    sizes = [path.stat().st_size for path in file.parent.glob(f"{file.name}*")]
    before = tracker.rlimit(psutil.RLIMIT_FSIZE)
    tracker.rlimit(psutil.RLIMIT_FSIZE, (min(sizes), before[1]))
    try:
        yield
    finally:
        tracker.rlimit(psutil.RLIMIT_FSIZE, before)


class Health:
    """Asks for `/health` and looks at the tracker's memory until the block ends."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.said: Counter[str] = Counter()
        self.trackers: set[int] = set()
        self.most_bytes = 0

    def __enter__(self) -> "Health":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(base_url=self._service.url, timeout=10, trust_env=False) as http:
            while not self._over.wait(_LOOK_SECONDS):
                process = self._service.tracker()
                self.trackers.add(process.pid)
                self.most_bytes = max(self.most_bytes, process.memory_info().rss)
                try:
                    answer = http.get("/health")
                    well = answer.json()["database"]["ok"]
                    self.said[f"{answer.status_code} {'well' if well else 'says it'}"] += 1
                except (httpx.HTTPError, KeyError) as error:
                    self.said[type(error).__name__] += 1


def run(database: str, seconds: float) -> dict[str, object]:
    """Do it once, and return the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        server = Postgres(folder / "postgres", folder) if database == "postgresql" else None
        url = server.new_database() if server else f"sqlite:///{folder / 'tasks.db'}"
        try:
            with running_service(
                folder / "service", url, num_cpus=RUNNERS, environment=_SETTINGS
            ) as service:
                service.warm_up(RUNNERS)
                return _measure(service, url, folder, seconds)
        finally:
            if server:
                server.remove()


def _measure(service: Service, url: str, folder: Path, seconds: float) -> dict[str, object]:
    gate = folder / "gate"
    payload = {"gate": str(gate), "size": RESULT_BYTES}
    gate.touch()
    _submit(service, 2000, {**payload, "size": 10})  # the tracker learns that they are short
    _wait_idle(service)
    gate.unlink()
    done_before = service.completed()
    tasks = RUNNERS * RESULTS
    sqlite = make_url(url).get_backend_name() == "sqlite"
    refusing = refusing_sqlite(service, folder / "tasks.db") if sqlite else refusing_postgres(url)
    with service.control() as control:
        _submit(service, tasks, payload)
        memory = service.tracker().memory_info().rss
        control.resume()
        claimed = _claimed(service, tasks)
        with Health(service) as health:
            with refusing:
                gate.touch()
                time.sleep(seconds)
                kept = service.completed() - done_before
                said = dict(health.said)
                grew = health.most_bytes - memory
            ended_at = time.monotonic()
            service.wait_completed(done_before + tasks)
            acknowledged = time.monotonic() - ended_at
    return {
        "database": "sqlite" if sqlite else "postgresql",
        "claimed_before": claimed,
        "completed_meanwhile": kept,
        "health": said,
        "trackers": len(health.trackers),
        "tracker_grew_mb": round(grew / 1e6, 1),
        "and_afterwards_mb": round((health.most_bytes - memory) / 1e6, 1),
        "acknowledged_after_seconds": round(acknowledged, 2),
    }


def _submit(service: Service, tasks: int, payload: dict[str, object]) -> None:
    for first in range(0, tasks, 500):
        body = {"tasks": [{"task_type": BLOB, "payload": payload}] * min(500, tasks - first)}
        service.http.post("/tasks/batch", json=body).raise_for_status()


def _claimed(service: Service, tasks: int) -> int:
    """Wait until so many are given out, but not so long that runners give them back."""
    deadline = time.monotonic() + 0.7
    while True:
        counts = service.store.counts()
        found = sum(number for (_, _, state), number in counts.items() if state.value == "RUNNING")
        if found >= tasks or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


def _wait_idle(service: Service) -> None:
    deadline = time.monotonic() + 120
    while any(
        number and not state.final for (_, _, state), number in service.store.counts().items()
    ):
        assert time.monotonic() < deadline
        time.sleep(_LOOK_SECONDS)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="postgresql")
    asked = parser.parse_args()
    print(json.dumps(run(asked.database, asked.seconds), indent=2))


if __name__ == "__main__":
    main()
