"""New versions of the handlers: tried before they are in force, whoever brings them.

It shares a service with `test_drain.py` and others, which come before it.
"""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from raytasks.protocol.person import person_here
from tests.cluster.changing import write_changing
from tests.cluster.conftest import Service, newest_act
from tests.cluster.processes import PATIENCE_SECONDS, TRACKER, WARM_RUNNER, kill, only, processes
from tests.redis_server import RedisServer

HERE = "os.environ.get('ONLY_HERE') == 'yes'"
OWN = "{'env_vars': {'A': '1'}}"
BAD = {
    "raises": f"assert {HERE}, 'a package that the cluster lacks'",
    "dies": f"{HERE} or os._exit(0)",
}


@pytest.fixture
def service(changing_service: Service) -> Service:
    """The service whose code can be changed."""
    return changing_service


@pytest.fixture
def folder(service: Service) -> Path:
    """Where the service, and the handlers' modules, are."""
    return service.log.parent


def run(service: Service, module: str, *arguments: str, **environment: str) -> Any:
    return subprocess.run(  # noqa: PLW1510 - who calls looks at the exit code
        [sys.executable, "-m", module, *arguments],
        env={**service.environment, **environment},
        capture_output=True,
        text=True,
        timeout=150,
    )


def deploy(service: Service, **environment: str) -> Any:
    address = f"--address={service.ray_address}"
    return run(service, "raytasks", "deploy", address, **environment)


def serve(service: Service, *arguments: str, **environment: str) -> Any:
    return run(service, "ray.serve.scripts", *arguments, **environment)


def in_force(service: Service) -> int:
    """Return the number of the version in force."""
    version: int = service.http.get("/health").json()["handlers"]["version"]
    return version


def until_answers(service: Service, number: int) -> None:
    """Wait until tasks are run by this version of the code."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := service.run("version", {})["result"]) != number:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_what_does_not_load_in_the_cluster_changes_nothing(service: Service, folder: Path) -> None:
    before = in_force(service)
    for name, first in BAD.items():
        write_changing(folder, 2, first)
        done = deploy(service, ONLY_HERE="yes")
        assert done.returncode == 2, (name, done.stdout, done.stderr)
        [line] = done.stderr.splitlines()
        assert line.startswith(f"error: the handlers are refused, and version {before} stays"), line
        assert "changing" in line
    write_changing(folder, 2, env="{'working_dir': 'file:///nothing/there.zip'}")
    done = deploy(service)
    assert done.returncode == 2, done.stderr
    assert "cannot be made" in done.stderr
    assert service.run("version", {})["result"] == 1
    health = service.http.get("/health").json()
    assert (health["status"], health["handlers"]["version"]) == ("degraded", before)
    assert health["handlers"]["failed"]["version"] > before
    assert [reason["code"] for reason in health["reasons"]] == ["version_failed"]


def test_a_good_one_is_in_force_also_after_the_tracker_has_died(
    service: Service, folder: Path
) -> None:
    before = in_force(service)
    write_changing(folder, 3)
    done = deploy(service, LEASE_SECONDS="33")
    assert done.returncode == 0, done.stderr
    assert "not changed by a deployment: RAYTASKS_LEASE_SECONDS" in done.stdout
    until_answers(service, 3)
    assert service.run("elsewhere", {})["result"] == 3
    after = in_force(service)
    assert after > before
    assert service.http.get("/health").json()["reasons"] == []
    kill(only(service, TRACKER))
    assert service.run("version", {})["result"] == 3
    assert in_force(service) == after


@pytest.mark.slow
def test_runners_that_cannot_come_up_are_told_of_and_tried_again(
    service: Service, folder: Path
) -> None:
    broken = folder / "broken"  # what a node loses after the trial has passed
    says = "import sys; print('looking for libgone', file=sys.stderr)"
    fails = f"{says}\nif os.path.exists({str(broken)!r}): raise ImportError('libgone.so')"
    write_changing(folder, 3, fails)
    assert deploy(service).returncode == 0
    until_answers(service, 3)
    broken.touch()
    kill(*processes(service, WARM_RUNNER))
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (reasons := service.http.get("/health").json()["reasons"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert {reason["code"] for reason in reasons} == {"runners_cannot_start"}  # one for each pool
    assert all("libgone.so" in reason["message"] for reason in reasons)
    assert any("looking for libgone" in reason["log"] for reason in reasons), reasons
    broken.unlink()
    until_answers(service, 3)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while reasons := service.http.get("/health").json()["reasons"]:  # other pools try again later
        assert time.monotonic() < deadline, reasons
        time.sleep(0.2)


@pytest.mark.slow
def test_serve_run_and_serve_deploy(service: Service, folder: Path) -> None:
    before = in_force(service)
    command = ("run", "--non-blocking", "--name=raytasks", f"--address={service.ray_address}")
    write_changing(folder, 4, BAD["raises"])
    done = serve(service, *command, "serve_app:app", ONLY_HERE="yes")
    assert "the handlers are refused" in done.stdout + done.stderr
    assert done.returncode != 0
    assert service.run("version", {})["result"] == 3
    write_changing(folder, 4)
    done = serve(service, *command, "serve_app:app")
    assert done.returncode == 0, done.stderr
    until_answers(service, 4)
    assert in_force(service) > before
    dashboard = service.log.read_text().partition("Ray dashboard:")[2].split()[0]
    command = ("deploy", "--name=raytasks", f"--address={dashboard}", "serve_app:app")
    for number in (5, 6):  # the same configuration: Serve itself sees no difference
        write_changing(folder, number)
        done = serve(service, *command)
        assert done.returncode == 0, done.stdout + done.stderr
        until_answers(service, number)


@pytest.mark.ends_service
def test_the_service_leaves_the_cluster(service: Service, redis: RedisServer) -> None:
    """And when the cluster stops, too, nothing of its control store is left in Redis."""
    done = run(service, "raytasks", "stop", f"--address={service.ray_address}", "--seconds=1")
    assert done.returncode == 0, done.stderr
    assert "the service has left the cluster" in done.stdout
    act = newest_act(service.environment["DATABASE_URL"])
    assert (act.action, act.by, act.details) == ("stop", person_here(), '{"grace_seconds":1.0}')
    done = run(service, "raytasks", "resume", f"--address={service.ray_address}")
    assert done.returncode == 2
    assert "no raytasks service runs in this Ray cluster" in done.stderr
    assert redis.all_keys() != []
    service.http.close()
    assert service.stop() == 0, service.log.read_text()
    assert redis.all_keys() == []
