"""Ray's autoscaler and the service: demand adds nodes, idle ones go, and no task is ended.

The nodes are of Ray's fake multi-node provider: processes on this machine, with logical GPUs.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import STOP_SECONDS
from tests.cluster.fake_nodes import IDLE_SECONDS, autoscaling_ray
from tests.cluster.head_of_others import wait_for
from tests.ports import quiet_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(560)]

GROW_SECONDS = 120.0
"""How long the autoscaler may take to add a node on a busy machine, in seconds."""

GO_SECONDS = IDLE_SECONDS + 90.0


@dataclass(frozen=True)
class Autoscaled:
    """A service on a cluster that an autoscaler sizes; `shown` is what `look` has seen."""

    http: httpx.Client
    shown: list[Any] = field(default_factory=list)

    def submit(self, task_type: str, until: Path | None = None) -> str:
        """Submit a task that stays on its node until a file exists; return its id."""
        payload = {} if until is None else {"until": str(until)}
        body = {"task_type": task_type, "payload": payload}
        answer = self.http.post("/tasks/", json=body).raise_for_status()
        return str(answer.json()["task_id"])

    def get(self, task_id: str) -> dict[str, Any]:
        """Return a task as it is now."""
        found: dict[str, Any] = self.http.get(f"/tasks/{task_id}").raise_for_status().json()
        return found

    def added(self) -> dict[str, dict[str, Any]]:
        """Return the nodes that are alive beside the head, by their ids."""
        nodes = self.http.get("/nodes").raise_for_status().json()["nodes"]
        return {node["node_id"]: node for node in nodes if node["alive"] and not node["head"]}

    def look(self) -> None:
        """Note which nodes are coming, as `/nodes` and the metrics have it."""
        self.shown.append(self.http.get("/nodes").json()["nodes_coming"])
        metrics = self.http.get("/metrics").text.splitlines()
        self.shown.extend(line for line in metrics if line.startswith("raytasks_nodes_coming{"))

    def runners(self, pool: str) -> int:
        """Return how many runners a pool has."""
        found = self.http.get("/health").json()["runners"]["list"]
        return sum(runner["pool"] == pool for runner in found)

    def ends(self, task_id: str, seconds: float) -> str:
        """Wait for the success of a task in its first attempt; return the node where it ran."""
        task = self.until(task_id, lambda task: task["result"], seconds)
        assert (task["state"], task["attempt"]) == ("COMPLETED", 1), task
        return str(task["result"])

    def until(
        self, task_id: str, wanted: Callable[[dict[str, Any]], Any], seconds: float
    ) -> dict[str, Any]:
        """Return a task as soon as it is as wanted."""
        deadline = time.monotonic() + seconds
        while not wanted(task := self.get(task_id)):
            assert task["state"] in ("PENDING", "RUNNING", "COMPLETED"), task
            assert time.monotonic() < deadline, (task, self.http.get("/nodes").json())
            time.sleep(0.1)
        return task

    def until_all_run(self, task_ids: Sequence[str]) -> None:
        """Wait until tasks run at the same time, each on a node of its own."""
        for task_id in task_ids:
            self.until(task_id, lambda task: task["started_at"], GROW_SECONDS)

    def until_nodes(self, number: int, seconds: float) -> set[str]:
        """Return the nodes beside the head as soon as there are so many, or fewer."""
        deadline = time.monotonic() + seconds
        while len(found := self.added().keys()) > number:
            assert time.monotonic() < deadline, (found, self.http.get("/runners").json())
            time.sleep(0.2)
        return set(found)

    def codes(self, task_id: str, seconds: float) -> list[str]:
        """Return what a task has waited for until it began, each reason once, in their order."""
        told: list[str] = []

        def begun(task: dict[str, Any]) -> bool:
            self.look()
            for reason in task["waiting_for"] or ():
                if reason["code"] not in told:
                    told.append(reason["code"])
            return task["started_at"] is not None

        self.until(task_id, begun, seconds)
        return told


@contextlib.contextmanager
def service_on(folder: Path, address: str, environment: dict[str, str]) -> Iterator[Autoscaled]:
    """Start the service on a cluster, and end it."""
    port, log = quiet_port(), folder / "up.log"
    command = [sys.executable, "-m", "raytasks", "up", f"--address={address}", f"--port={port}"]
    with log.open("wb") as output:
        up = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        wait_for(log, "Ctrl-C", up)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as http:
            yield Autoscaled(http)
        up.send_signal(signal.SIGINT)
        assert up.wait(STOP_SECONDS) == 0, log.read_text()
    finally:
        if up.poll() is None:
            os.killpg(up.pid, signal.SIGKILL)
            up.wait(10)


def variables(folder: Path) -> dict[str, str]:
    """Return the environment of the cluster and the service."""
    (folder / "token").write_text("5e" * 32)
    ours = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    return {
        **ours,
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        "RAY_AUTH_MODE": "token",
        # Ray's workers would have to wait for whatever else runs on the machine.
        "RAY_worker_niceness": "0",
        "RAYTASKS_DATABASE_URL": f"sqlite:///{folder}/tasks.db",
        "RAYTASKS_ARTIFACTS_URL": str(folder / "artifacts"),
        "RAYTASKS_TASK_MODULES": "tests.autoscaled_handlers",
        "RAYTASKS_RUNNER_IDLE_SECONDS": "4",
        "RAYTASKS_STOP_GRACE_SECONDS": "1",
        "RAYTASKS_DEBUG": "true",
        "RAYTASKS_API_KEYS": "",
    }


@pytest.mark.usefixtures("no_service")
@pytest.mark.parametrize("version", ["v1", "v2"])
def test_demand_adds_nodes_and_idle_ones_go(tmp_path: Path, version: str) -> None:
    environment = variables(tmp_path)
    with (
        autoscaling_ray(tmp_path, environment, v2=version == "v2") as address,
        service_on(tmp_path, address, environment) as service,
    ):
        assert service.added() == {}
        a_remote_task_gets_the_node_type_that_it_needs(service)
        a_node_stays_while_a_task_runs_there(service, tmp_path)
        a_pool_grows_onto_new_nodes_and_leaves_them(service, tmp_path)
        assert service.http.get("/health").json()["status"] == "ok"


def a_remote_task_gets_the_node_type_that_it_needs(service: Autoscaled) -> None:
    task = service.submit("on_a_gpu")
    told = service.codes(task, GROW_SECONDS)
    assert told.index("nodes_coming") <= 2, told  # never_fits until the autoscaler has looked
    assert 'raytasks_nodes_coming{node_type="gpu"} 1.0' in service.shown
    assert {"gpu": 1} in service.shown
    node = service.ends(task, GROW_SECONDS)
    assert service.added()[node]["resources"]["GPU"]["total"] == 1


def a_node_stays_while_a_task_runs_there(service: Autoscaled, folder: Path) -> None:
    some_may_go, last_may_go = folder / "some", folder / "last"
    last = service.submit("whole_node", last_may_go)
    some = [service.submit("whole_node", some_may_go) for _ in range(2)]
    service.until_all_run([last, *some])
    some_may_go.touch()
    used = {service.ends(task, GROW_SECONDS) for task in some}
    [kept] = service.until_nodes(1, GO_SECONDS)  # the others were idle for too long
    assert service.get(last)["state"] == "RUNNING"
    assert len(used | {kept}) == 3
    last_may_go.touch()
    assert service.ends(last, GROW_SECONDS) == kept


def a_pool_grows_onto_new_nodes_and_leaves_them(service: Autoscaled, folder: Path) -> None:
    may_go = folder / "wide"
    tasks = [service.submit("wide_sleep", may_go) for _ in range(3)]
    service.until_all_run(tasks)
    may_go.touch()
    assert len({service.ends(task, GROW_SECONDS) for task in tasks}) == 3
    assert service.added()
    # Runners that stay and reserve nothing must not keep one of these nodes.
    service.http.put("/pools/shared", json={"runners": [3, 3]}).raise_for_status()
    service.until_nodes(0, GO_SECONDS)
    assert (service.runners("wide"), service.runners("shared")) == (0, 3)
