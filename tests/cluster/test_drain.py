"""Draining, and new versions of the code: what runs goes on, and old code never runs new tasks.

It shares a service with `test_versions.py`, which comes after it.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raytasks.protocol.person import person_here
from tests.cluster.changing import write_versioned
from tests.cluster.conftest import Service
from tests.cluster.processes import PATIENCE_SECONDS, TRACKER, begun, kill, marks, only

KINDS = ("versioned", "versioned_remote")


@pytest.fixture
def service(changing_service: Service) -> Service:
    """The service whose code can be changed."""
    return changing_service


@pytest.fixture
def folder(service: Service) -> Path:
    """Where the service, and the handlers' modules, are."""
    return service.log.parent


def command(service: Service, *arguments: str, **environment: str) -> str:
    """Run a `raytasks` command on the service's cluster, and return what it says."""
    done = subprocess.run(  # noqa: PLW1510 - the exit code is looked at below
        [sys.executable, "-m", "raytasks", *arguments, f"--address={service.ray_address}"],
        env={**service.environment, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_until_paused(service: Service, task: dict[str, Any]) -> None:
    """Wait until the tracker says that a pause holds a task back; a new one has to start before."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "paused" not in [why["code"] for why in service.get(task)["waiting_for"] or ()]:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_drain_waits_for_what_runs_and_holds_back_the_rest(
    service: Service, tmp_path: Path
) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    payload = {"gate": str(gate), "mark": str(mark)}
    running = [service.submit(kind, payload) for kind in KINDS]
    begun(mark, attempts=2)
    draining = subprocess.Popen(
        [sys.executable, "-m", "raytasks", "drain", f"--address={service.ray_address}"],
        env=service.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not service.http.get("/health").json()["tracker"]["paused"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    [act] = service.http.get("/audit", params={"limit": 1}).json()["entries"]
    assert (act["action"], act["by"], act["details"]["drain"]) == ("pause", person_here(), True)
    waiting = service.submit("versioned", payload)
    gate.touch()
    said, _ = draining.communicate(timeout=60)
    assert "0 attempts were given back" in said
    assert [service.wait(task)["attempt"] for task in running] == [1, 1]
    kill(only(service, TRACKER))  # it does not forget
    assert service.get(waiting, wait=3)["state"] == "PENDING"
    command(service, "resume")
    assert service.wait(waiting)["state"] == "COMPLETED"


def test_a_pause_of_a_type_holds_it_back_until_it_is_resumed(
    service: Service, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    payload = {"gate": str(gate), "mark": str(tmp_path / "mark")}
    said = command(service, "pause", "--type=versioned")
    assert said.startswith("the type versioned is paused until it is resumed, by ")
    waiting = service.submit("versioned", payload)
    other = service.submit("versioned_remote", payload)
    assert service.wait(other)["state"] == "COMPLETED"
    kill(only(service, TRACKER))  # it does not forget
    wait_until_paused(service, waiting)
    assert service.get(waiting, wait=3)["state"] == "PENDING"
    assert "there was no such pause" in command(service, "resume")
    assert command(service, "resume", "--type=versioned") == "tasks are handed out again\n"
    assert service.wait(waiting)["state"] == "COMPLETED"


def test_a_drain_gives_back_what_runs_for_too_long(service: Service, tmp_path: Path) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    payload = {"gate": str(gate), "mark": str(mark)}
    running = [service.submit(kind, payload) for kind in KINDS]
    begun(mark, attempts=2)
    assert "2 attempts were given back" in command(service, "drain", "--seconds=0.5")
    for task in running:
        assert service.get(task)["state"] == "PENDING"
    gate.touch()
    command(service, "resume")
    for task in running:
        done = service.wait(task)
        assert [attempt["outcome"] for attempt in done["attempts"]] == ["released", "succeeded"]
        assert done["crashes"] == 0


def test_a_new_version_takes_new_tasks_while_the_old_one_finishes(
    service: Service, folder: Path, tmp_path: Path
) -> None:
    gates = [tmp_path / "gate1", tmp_path / "gate2"]
    mark = tmp_path / "mark"
    old = [service.submit(kind, {"gate": str(gates[0]), "mark": str(mark)}) for kind in KINDS]
    begun(mark, attempts=2)
    assert service.http.post("/pause", json={"task_type": "version"}).status_code == 200
    held = service.submit("version", {})
    write_versioned(folder, 2)
    assert "versioned, versioned_remote" in command(service, "deploy")
    new = [service.submit(kind, {"gate": str(gates[1]), "mark": str(mark)}) for kind in KINDS]
    gates[1].touch()
    assert [service.wait(task)["result"] for task in new] == [2, 2]
    gates[0].touch()
    for task in old:
        done = service.wait(task)
        assert (done["result"], done["attempt"]) == (1, 1)
    wait_until_paused(service, held)  # a deployment does not end such a pause
    assert service.http.post("/resume", json={"task_type": "version"}).json()["ended"]
    assert service.wait(held)["state"] == "COMPLETED"


@pytest.mark.slow
def test_an_old_version_that_runs_for_too_long_is_given_back(
    service: Service, folder: Path, tmp_path: Path
) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    old = [service.submit(kind, {"gate": str(gate), "mark": str(mark)}) for kind in KINDS]
    begun(mark, attempts=2)
    write_versioned(folder, 3)
    command(service, "deploy", DRAIN_SECONDS="2")
    begun(mark, attempts=4)
    gate.touch()
    for task in old:
        done = service.wait(task)
        assert [attempt["outcome"] for attempt in done["attempts"]] == ["released", "succeeded"]
        assert (done["result"], done["crashes"]) == (3, 0)
    assert len(marks(mark)) == 4
