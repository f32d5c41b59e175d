"""The database is away: submissions are refused in time, nothing that runs is cut, all goes on.

This module runs services of its own, and so must come before the one that all others share.
"""

import resource
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.cluster.conftest import Service, start_service
from tests.cluster.processes import PATIENCE_SECONDS, TRACKER, begun, kill, marks, only
from tests.cluster.recovery import recovering
from tests.postgres_server import PostgresServer


def is_refused(service: Service) -> httpx.Response:
    """Submit until it is refused, and return that answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = service.http.post("/tasks/", json={"task_type": "noop", "payload": {}})
        if answer.status_code == 503:
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.05)


def submitted_again(service: Service) -> dict[str, Any]:
    """Submit until it is accepted."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        answer = service.http.post("/tasks/", json={"task_type": "noop", "payload": {}})
        if answer.status_code == 202:
            task: dict[str, Any] = answer.json()
            return task
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_postgresql_is_stopped_and_started(
    tmp_path: Path, postgres_url: str, postgres_server: PostgresServer
) -> None:
    service = start_service(tmp_path, DATABASE_URL=postgres_url)
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    script = {"step": "wait_file", "file": str(gate), "mark": str(mark)}
    running = [service.submit(kind, script) for kind in ("scripted", "scripted_remote")]
    begun(mark, attempts=2)
    for restarts_too in (False, True):
        postgres_server.stop()
        try:
            refused = is_refused(service)
            assert refused.headers["Retry-After"]
            assert refused.headers["content-type"] == "application/problem+json"
            if restarts_too:  # the tracker finds no database when it starts
                kill(only(service, TRACKER))
                is_refused(service)
            health = service.http.get("/health")
            assert (health.status_code, health.json()["database"]["ok"]) == (503, False)
            if restarts_too:
                gate.touch()  # the outcomes have to wait for the database
        finally:
            postgres_server.start()
        too = ", the tracker killed meanwhile" if restarts_too else ""
        with recovering(f"PostgreSQL stopped and started{too}"):
            accepted = submitted_again(service)
            assert service.wait(accepted)["state"] == "COMPLETED"
    for task in running:
        done = service.wait(task)
        assert (done["state"], done["attempt"]) == ("COMPLETED", 1)
    assert len(marks(mark)) == 2
    assert service.http.get("/health").status_code == 200
    service.http.close()
    assert service.stop() == 0, service.log.read_text()


def test_sqlite_is_locked_and_cannot_write(tmp_path: Path) -> None:
    service = start_service(tmp_path)
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    running = service.submit(
        "scripted", {"step": "wait_file", "file": str(gate), "mark": str(mark)}
    )
    begun(mark)

    other = sqlite3.connect(tmp_path / "tasks.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    is_refused(service)
    gate.touch()
    other.execute("COMMIT")
    with recovering("SQLite's file locked by another process, and unlocked"):
        assert service.wait(submitted_again(service))["state"] == "COMPLETED"
        assert service.wait(running)["attempt"] == 1

    tracker = only(service, TRACKER)
    size = (tmp_path / "tasks.db-wal").stat().st_size
    tracker.rlimit(psutil.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    is_refused(service)
    assert service.http.get("/health").status_code == 503
    assert (tmp_path / "tasks.db-wal").stat().st_size <= size + 1
    tracker.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with recovering("SQLite's file cannot grow, and can again"):
        assert service.wait(submitted_again(service))["state"] == "COMPLETED"
    assert only(service, TRACKER).pid == tracker.pid  # no crash loop
    service.http.close()
    assert service.stop() == 0, service.log.read_text()
