"""A real service for tests: `raytasks up` as its own process, with Ray, HAProxy and SQLite."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster import recovery
from tests.ports import quiet_port

HERE = Path(__file__).parent
START_SECONDS = 90
STOP_SECONDS = 60


@dataclass
class Service:
    """A running service, and what a test needs to talk to it."""

    url: str
    ray_address: str
    process: "subprocess.Popen[bytes]"
    log: Path
    environment: dict[str, str]
    http: httpx.Client

    def submit(self, task_type: str, payload: Any, **options: Any) -> dict[str, Any]:
        """Submit a task, and return it as it was accepted."""
        body = {"task_type": task_type, "payload": payload, **options}
        answer = self.http.post("/tasks/", json=body)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def wait(self, task: dict[str, Any], seconds: float = 60) -> dict[str, Any]:
        """Return the task as soon as it has ended."""
        found = self.get(task, wait=seconds)
        assert found["state"] in ("COMPLETED", "FAILED", "CANCELLED"), found
        return found

    def run(self, task_type: str, payload: Any, **options: Any) -> dict[str, Any]:
        """Submit a task, and return it when it has ended."""
        return self.wait(self.submit(task_type, payload, **options))

    def get(self, task: dict[str, Any], wait: float = 0) -> dict[str, Any]:
        """Return the task as it is now."""
        answer = self.http.get(f"/tasks/{task['task_id']}", params={"wait": wait})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait_until(self, task: dict[str, Any], state: str) -> dict[str, Any]:
        """Return the task when it is in a state that it will be in soon."""
        deadline = time.monotonic() + 30
        while (found := self.get(task))["state"] != state:
            assert time.monotonic() < deadline, found
        return found

    def stop(self) -> int:
        """Stop the service as Ctrl-C does, and return its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


def start_service(folder: Path, port: int = 0, *, cpus: int = 2, **environment: str) -> Service:
    """Start `raytasks up` on free ports, or on this one, with its files in a folder."""
    port = port or quiet_port()
    log = folder / "up.log"
    variables = {
        **os.environ,
        "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
        "ARTIFACTS_URL": str(folder / "artifacts"),
        "TASK_MODULES": "handlers,tests.scripted",
        "STOP_GRACE_SECONDS": "1",
        "FETCH_ALLOWED_HOSTS": "",
        "API_KEYS": "",
        "DEBUG": "true",
        "SCRIPTED_FUSE_FILE": str(folder / "fuse"),
        "RAY_AUTH_TOKEN_PATH": str(folder / "ray-token"),
        **environment,
    }
    command = [sys.executable, "-m", "raytasks", "up", f"--port={port}", f"--num-cpus={cpus}"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=variables)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    while "Ctrl-C" not in log.read_text():  # the last line of the announcement
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"the service did not start:\n{log.read_text()}")
        time.sleep(0.1)
    address = log.read_text().partition("--address ")[2].split()[0]
    http = httpx.Client(base_url=url, timeout=70, trust_env=False)
    # Ray's own commands want to be told, where they get an address.
    return Service(url, address, process, log, {"RAY_AUTH_MODE": "token", **variables}, http)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all cluster tests; at the end it must stop in order."""
    running = start_service(tmp_path_factory.mktemp("service"), LEASE_SECONDS="5")
    yield running
    running.http.close()
    assert running.stop() == 0, running.log.read_text()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell how long the service took to recover from each fault."""
    if recovery.TIMES:
        terminalreporter.section("recovery times")
        for line in recovery.table():
            terminalreporter.write_line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that start services of their own before the one that the others share.

    Only one Ray cluster should use the HAProxy ingress on a machine at a time.
    """
    alone = {"control_store", "drain", "leftovers", "on_postgresql", "out_of_memory", "restart"}
    own = {"starvation", "tutorial", "versions", "wheel", "yardstick"}
    names = {f"test_{name}.py" for name in alone | own}
    items.sort(key=lambda item: item.path.parent == HERE and item.path.name not in names)
