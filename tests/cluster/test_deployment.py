"""The ways to deploy that `docs/deployment.md` has, each run with its own files.

Compose: the head's and a worker's commands, variables and health checks, as processes. On that
cluster: `serve deploy` with its file, and `ray job submit`. KubeRay: `raytasks-head`, which is
`raytasks up --address` on a Ray that somebody else has started.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from raytasks.api_keys import digest_of
from tests.cluster.conftest import START_SECONDS, STOP_SECONDS, Service, Services
from tests.cluster.processes import PATIENCE_SECONDS
from tests.deploy.dockerfile import DOCKERFILE, ROOT, stages
from tests.keyring import KEYS, bearer
from tests.ports import quiet_port
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

IMAGE = stages(DOCKERFILE.read_text())[-1]
COMPOSE = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
TOKEN = "5e" * 32
DRIVER = """
import ray, raytasks
ray.init(log_to_driver=False)
print("words:", ray.get(raytasks.submit("text_processing", {"text": "one two"}).ref)["word_count"])
"""


PLACES = """
import ray
from raytasks.runner.on_ray.nodes import near_the_head
ray.init(log_to_driver=False)
nodes = ray.nodes()
spot = {node["NodeID"] for node in nodes if node["Labels"].get("ray.io/market-type") == "spot"}
assert any(node["Alive"] and node["NodeID"] in spot for node in nodes)
gone = [{**node, "NodeID": "0" * 56} for node in nodes]
class Place:
    def node(self): return ray.get_runtime_context().get_node_id()
places = [ray.remote(Place).options(num_cpus=0, **near_the_head(gone)).remote() for _ in range(8)]
found = ray.get([place.node.remote() for place in places], timeout=60)
print("on the spot node:", len(spot.intersection(found)), "of", len(found))
"""


def values(**more: str) -> dict[str, str]:
    """Return what a user sets in `deploy/.env`."""
    names = re.findall(r"^(\w+)=$", (ROOT / "deploy/compose/example.env").read_text(), re.M)
    keys = f"a:read+submit+operate::{digest_of(KEYS['a'])}"
    ours = {"RAYTASKS_API_KEYS": keys, "RAY_AUTH_TOKEN": TOKEN, **more}
    return {name: ours.get(name, "a-secret-of-our-own") for name in names}


def of_compose(service: str, folder: Path) -> dict[str, str]:
    """Return the variables of a service of Compose, with the image's, for this machine."""
    given = values()

    def filled(text: str) -> str:
        return re.sub(r"\$\{(\w+)(:[?-])?\}", lambda found: given.get(found[1], ""), text)

    asked = {name: filled(text) for name, text in COMPOSE[service]["environment"].items()}
    here = {name: text for name, text in os.environ.items() if not name.startswith("RAY")}
    tools = Path(sys.executable).parent
    return {
        **here,
        **IMAGE.environment(),
        **asked,
        # Where the image has folders and ports of its own.
        "PATH": f"{tools}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "RAYTASKS_ARTIFACTS_URL": str(folder / "artifacts"),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(quiet_port()),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(quiet_port()),
        # Ray's workers would have to wait for whatever else runs on the machine.
        "RAY_worker_niceness": "0",
    }


def started(log: Path, text: str, command: list[str], environment: dict[str, str]) -> Any:
    """Start a command, and return its process when it has written a text."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while text not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            pytest.fail(log.read_text())
        time.sleep(0.1)
    return process


@pytest.fixture
def composed(services: Services, postgres_server: PostgresServer) -> Service:
    """The head of Compose: the image's command with its variables and those of the file."""

    def start(folder: Path) -> Service:
        environment = of_compose("head", folder)
        assert environment["RAYTASKS_DATABASE_URL"].startswith("postgresql://raytasks:")
        environment["RAYTASKS_DATABASE_URL"] = postgres_server.new_database()
        environment["RAYTASKS_TASK_MODULES"] = "raytasks.builtin,tests.scripted"
        environment["RAYTASKS_STOP_GRACE_SECONDS"] = "1"
        port, log = quiet_port(), folder / "up.log"
        command = [*IMAGE.command(), f"--port={port}", "--num-cpus=1"]
        process = started(log, "Ctrl-C", command, environment)
        address = log.read_text().partition("--address ")[2].split()[0]
        url = f"http://127.0.0.1:{port}"
        http = httpx.Client(base_url=url, timeout=70, trust_env=False, headers=bearer("a"))
        return Service(url, address, process, log, environment, http)

    return services.get("composed", start)


@pytest.fixture
def worker(composed: Service) -> Iterator[psutil.Process]:
    """A worker of Compose, which also has what some of our handlers ask for."""
    folder = composed.log.parent
    asked = COMPOSE["worker-1"]["command"]
    command = [part.replace("head:6379", composed.ray_address) for part in asked]
    command += ["--num-cpus=1", "--resource=elsewhere=2", "--labels=ray.io/market-type=spot"]
    environment = of_compose("worker-1", folder)
    process = started(folder / "worker.log", "works for", command, environment)
    yield psutil.Process(process.pid)
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_SECONDS) == 0


def checked(command: list[str], old: str, new: int) -> int:
    """Run a health check at another port, and return its exit code."""
    there = [part.replace(f":{old}/", f":{new}/") for part in command]
    assert there != command
    return subprocess.run(there, check=False, timeout=30).returncode


def test_compose_runs_a_task_on_its_worker(composed: Service, worker: psutil.Process) -> None:
    port = httpx.URL(composed.url).port or 0
    assert checked(IMAGE.health_check(), "8000", port) == 0
    assert checked(IMAGE.health_check(), "8000", quiet_port()) != 0
    program, *check = COMPOSE["worker-1"]["healthcheck"]["test"]
    assert program == "CMD"
    assert checked(check, "52365", agent_port(worker)) == 0
    task = composed.run("scripted_elsewhere", {})
    assert task["state"] == "COMPLETED", task
    assert composed.run("text_processing", {"text": "one"})["state"] == "COMPLETED"
    assert httpx.get(f"{composed.url}/tasks/", trust_env=False).status_code == 401


def agent_port(worker: psutil.Process) -> int:
    """Return the port at which the agent of a worker's node answers."""
    option = "--dashboard-agent-listen-port="
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        for process in worker.children(recursive=True):
            for part in process.cmdline():
                if part.startswith(option):
                    return int(part.removeprefix(option))
        time.sleep(0.1)
    raise AssertionError("the worker has no agent")


def dashboard(service: Service) -> str:
    return service.log.read_text().partition("Ray dashboard:")[2].split()[0]


def tool(service: Service, *command: str, **more: str) -> str:
    """Run a command as a user with Ray's token, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env={**service.environment, **more},
        check=False,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_serve_deploy_with_its_file(composed: Service, tmp_path: Path) -> None:
    config = (ROOT / "deploy" / "serve.yaml").read_text()
    file = tmp_path / "serve.yaml"
    port = httpx.URL(composed.url).port
    file.write_text(config.replace("port: 8000", f"port: {port}").replace("127.0.0.1", "0.0.0.0"))
    before = composed.http.get("/versions").json()
    address = f"--address={dashboard(composed)}"
    tool(composed, "ray.serve.scripts", "deploy", address, str(file))
    deadline = time.monotonic() + PATIENCE_SECONDS
    status = ""
    while "status: RUNNING" not in status or "DEPLOYING" in status:
        assert time.monotonic() < deadline, status
        status = tool(composed, "ray.serve.scripts", "status", address)
    assert composed.run("text_processing", {"text": "one two"})["state"] == "COMPLETED"
    assert composed.http.get("/versions").json() != before


def test_ray_job_submit(composed: Service, tmp_path: Path) -> None:
    driver = tmp_path / "driver.py"
    driver.write_text(DRIVER)
    address = f"--address={dashboard(composed)}"
    entry = ("--", sys.executable, str(driver))
    said = tool(composed, "ray.scripts.scripts", "job", "submit", address, *entry)
    assert "words: 2" in said
    assert "succeeded" in said


@pytest.mark.usefixtures("worker")
def test_without_its_head_the_tracker_would_be_on_no_spot_node(
    composed: Service, tmp_path: Path
) -> None:
    """The worker is a spot node. A head that is gone is played by an id that no node has."""
    driver = tmp_path / "places.py"
    driver.write_text(PLACES)
    address = f"--address={dashboard(composed)}"
    said = tool(composed, "ray.scripts.scripts", "job", "submit", address, "--", sys.executable,
                str(driver))  # fmt: skip
    assert "on the spot node: 0 of 8" in said, said


@pytest.mark.usefixtures("no_service")
def test_the_head_of_kuberay(tmp_path: Path) -> None:
    """Its script starts Ray by KubeRay's command, and `raytasks up --address` on that."""
    environment = of_compose("head", tmp_path)
    environment["RAYTASKS_DATABASE_URL"] = f"sqlite:///{tmp_path}/tasks.db"
    environment["RAYTASKS_TASK_MODULES"] = "tests.scripted"
    environment["RAYTASKS_STOP_GRACE_SECONDS"] = "1"
    ray_port, port, log = quiet_port(), quiet_port(), tmp_path / "head.log"
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    start += [f"--port={ray_port}", "--num-cpus=1", "--include-dashboard=false"]
    start += [f"--ray-client-server-port={quiet_port()}", "--min-worker-port=0"]
    start += [f"--dashboard-agent-listen-port={quiet_port()}", "--max-worker-port=0"]
    environment["KUBERAY_GEN_RAY_START_CMD"] = shlex.join(start)
    environment["RAYTASKS_RAY_ADDRESS"] = f"127.0.0.1:{ray_port}"
    command = [str(ROOT / "deploy" / "raytasks-head"), "--host", "0.0.0.0", f"--port={port}"]
    process = started(log, "raytasks is ready at", command, environment)
    family = psutil.Process(process.pid).children(recursive=True)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=bearer("a")) as http:
            for probe in ("/livez", "/readyz"):
                assert http.get(probe).status_code == 200
            body = {"task_type": "scripted", "payload": {}}
            task = http.post("/tasks/", json=body).raise_for_status().json()
            done = http.get(f"/tasks/{task['task_id']}", params={"wait": 60}, timeout=70).json()
            assert done["state"] == "COMPLETED", done
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_SECONDS) == 0, log.read_text()
        assert "the service has stopped" in log.read_text()
        _, left = psutil.wait_procs(family, timeout=20)
        assert not left, [item.cmdline() for item in left]
    finally:
        for item in (*family, process):
            if item.is_running() if isinstance(item, psutil.Process) else item.poll() is None:
                item.kill()
