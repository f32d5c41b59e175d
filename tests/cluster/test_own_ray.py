"""A Ray cluster that its user has started, with `raytasks env`; the service on it, and its end."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from raytasks.protocol.person import person_here
from tests.cluster.conftest import STOP_SECONDS, newest_act
from tests.cluster.head_of_others import head_of_others, wait_for
from tests.ports import quiet_port

pytestmark = pytest.mark.slow

RAYTASKS = f"{sys.executable} -m raytasks"


def variables(folder: Path) -> dict[str, str]:
    """Return the environment of the user's shell."""
    (folder / "token").write_text("5e" * 32)
    ours = {name: text for name, text in os.environ.items() if not name.startswith("RAY_")}
    return {
        **ours,
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
        # Ray's workers would have to wait for whatever else runs on the machine.
        "RAY_worker_niceness": "0",
        "RAYTASKS_DATABASE_URL": f"sqlite:///{folder}/tasks.db",
        "RAYTASKS_ARTIFACTS_URL": str(folder / "artifacts"),
        "RAYTASKS_TASK_MODULES": "tests.scripted",
        "RAYTASKS_STOP_GRACE_SECONDS": "1",
        "RAYTASKS_DEBUG": "true",
        "RAYTASKS_API_KEYS": "",
    }


@contextlib.contextmanager
def own_ray(folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start Ray as docs say, but for one variable; the address is what it gives."""
    port = quiet_port()
    script = (
        f'eval "$({RAYTASKS} env)"; unset RAY_task_oom_retries; '
        f"exec {sys.executable} -m ray.scripts.scripts start --head --block --port={port} "
        f"--num-cpus=2 --include-dashboard=false --min-worker-port=0 "
        f"--max-worker-port=0 --ray-client-server-port={quiet_port()} "
        f"--dashboard-agent-listen-port={quiet_port()}"
    )
    command = ["/bin/sh", "-c", script]
    with head_of_others(command, folder / "ray.log", environment) as address:
        yield address


@pytest.mark.timeout(400)
@pytest.mark.usefixtures("no_service")
def test_env_up_at_an_address_and_down(tmp_path: Path) -> None:
    environment = variables(tmp_path)
    with own_ray(tmp_path, environment) as address:
        port, log = quiet_port(), tmp_path / "up.log"
        command = [*RAYTASKS.split(), "up", f"--address={address}", f"--port={port}"]
        with log.open("wb") as output:
            up = subprocess.Popen(
                command,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        try:
            wait_for(log, "Ctrl-C", up)
            lines = [line.strip() for line in log.read_text().splitlines()]
            told = lines.index(
                "this cluster runs without some of Ray's variables, which works, but:"
            )
            assert lines[told + 1].endswith("(RAY_task_oom_retries)")
            assert lines[told + 2].startswith('to mend it: eval "$(raytasks env)"')
            url = f"http://127.0.0.1:{port}"
            listener = next(
                process.name() for process in psutil.process_iter() if port in listening(process)
            )
            assert listener.startswith("haproxy")
            http = httpx.Client(base_url=url, timeout=60, trust_env=False)
            body = {"task_type": "scripted", "payload": {"step": "sleep", "seconds": 60}}
            task = http.post("/tasks/", json=body).raise_for_status().json()
            while http.get(f"/tasks/{task['task_id']}").json()["state"] != "RUNNING":
                time.sleep(0.05)
            http.close()
            down = subprocess.run(
                [*RAYTASKS.split(), "down", f"--port={port}"],
                env=environment,
                capture_output=True,
                text=True,
                timeout=STOP_SECONDS * 2,
                check=True,
            )
            first, last = down.stdout.splitlines()
            assert first.startswith(f"ending the service at {url} (process {up.pid})")
            assert last == "it has ended; 1 running tasks were given back"
            act = newest_act(environment["RAYTASKS_DATABASE_URL"])
            assert (act.action, act.by) == ("stop", person_here())
            assert up.wait(10) == 0
            nodes = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "ray.scripts.scripts",
                    "health-check",
                    f"--address={address}",
                ],
                env={**environment, "RAY_AUTH_MODE": "token"},
                timeout=60,
                check=False,
            )
            assert nodes.returncode == 0  # it is its user's, and stays
        finally:
            if up.poll() is None:
                os.killpg(up.pid, signal.SIGKILL)
                up.wait(10)


def listening(process: psutil.Process) -> set[int]:
    """Return the ports at which a process listens."""
    try:
        found = process.net_connections(kind="tcp")
    except psutil.Error:
        return set()
    return {item.laddr.port for item in found if item.status == psutil.CONN_LISTEN}
