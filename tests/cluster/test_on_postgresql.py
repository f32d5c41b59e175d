"""On PostgreSQL: the main path; and the server is away: nothing that runs is cut, all goes on."""

from pathlib import Path

import pytest

from tests.cluster.conftest import Service
from tests.cluster.outage import is_refused, submitted_again
from tests.cluster.processes import TRACKER, begun, kill, marks, only
from tests.cluster.recovery import recovering
from tests.postgres_server import PostgresServer


@pytest.fixture
def service(durable_service: Service) -> Service:
    """The service on PostgreSQL."""
    return durable_service


def test_the_main_path(service: Service) -> None:
    before = completed(service)
    for task_type in ("scripted", "scripted_class", "scripted_remote"):
        done = service.run(task_type, {"fail_first": 1, "value": "ü"})
        assert done["state"] == "COMPLETED"
        assert done["result"]["value"] == "ü"
        assert [attempt["outcome"] for attempt in done["attempts"]] == ["failed", "succeeded"]
    cancelled = service.submit("noop", {}, delay_seconds=3600)
    service.http.post(f"/tasks/{cancelled['task_id']}/cancel")
    assert service.wait(cancelled)["state"] == "CANCELLED"
    assert completed(service) == before + 3
    assert service.http.get("/health").status_code == 200


def completed(service: Service) -> int:
    """Return how many tasks are COMPLETED."""
    total: int = service.http.get("/tasks", params={"state": "COMPLETED"}).json()["total"]
    return total


def test_postgresql_is_stopped_and_started(
    service: Service, tmp_path: Path, postgres_server: PostgresServer
) -> None:
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
