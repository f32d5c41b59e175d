"""SQLite's file cannot be written: submissions are refused in time, nothing is cut, all goes on."""

import resource
import sqlite3
from pathlib import Path

import psutil

from tests.cluster.conftest import Service
from tests.cluster.outage import is_refused, submitted_again
from tests.cluster.processes import TRACKER, begun, only
from tests.cluster.recovery import recovering


def test_it_is_locked_and_cannot_write(service: Service, tmp_path: Path) -> None:
    database = Path(service.environment["DATABASE_URL"].removeprefix("sqlite:///"))
    journal = database.with_name(f"{database.name}-wal")
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    running = service.submit(
        "scripted", {"step": "wait_file", "file": str(gate), "mark": str(mark)}
    )
    begun(mark)

    other = sqlite3.connect(database, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    is_refused(service)
    gate.touch()
    other.execute("COMMIT")
    with recovering("SQLite's file locked by another process, and unlocked"):
        assert service.wait(submitted_again(service))["state"] == "COMPLETED"
        assert service.wait(running)["attempt"] == 1

    tracker = only(service, TRACKER)
    size = journal.stat().st_size
    tracker.rlimit(psutil.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    is_refused(service)
    assert service.http.get("/health").status_code == 503
    assert journal.stat().st_size <= size + 1
    tracker.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with recovering("SQLite's file cannot grow, and can again"):
        assert service.wait(submitted_again(service))["state"] == "COMPLETED"
    assert only(service, TRACKER).pid == tracker.pid  # no crash loop
