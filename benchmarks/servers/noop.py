"""Ray Serve with an endpoint that does nothing, in a cluster of its own."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import httpx

from benchmarks.servers.ports import quiet_port
from benchmarks.servers.programs import Program, ProgramFailed, clean
from raytasks.cluster.environment import ray_environment

_ANSWER_SECONDS = 30.0


@dataclass
class NoopServer:
    """A running server."""

    url: str
    program: Program


@contextmanager
def running_noop(folder: Path, *, haproxy: bool) -> Iterator[NoopServer]:
    """Run a server, behind HAProxy or Serve's default proxy."""
    folder.mkdir(parents=True, exist_ok=True)
    port = quiet_port()
    command = [sys.executable, "-m", "benchmarks.servers.noop_server", str(port)]
    program = Program(command, folder / "noop.log", _environment(haproxy=haproxy))
    try:
        program.wait_for("serving")
        server = NoopServer(f"http://127.0.0.1:{port}", program)
        _wait_for_answer(server.url)
        yield server
    finally:
        program.stop()


def _environment(*, haproxy: bool) -> dict[str, str]:
    """Return the variables that raytasks itself would start Ray with: the same ingress."""
    with mock.patch.dict("os.environ", clean(), clear=True):
        variables = ray_environment()
    if not haproxy:
        variables = {name: value for name, value in variables.items() if "HAPROXY" not in name}
        variables |= {"RAY_SERVE_ENABLE_HA_PROXY": "0", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "0"}
    return {**clean(), **variables, "PYTHONPATH": clean()["PYTHONPATH"]}


def _wait_for_answer(url: str) -> None:
    deadline = time.monotonic() + _ANSWER_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx.post(f"{url}/tasks/", json={}, timeout=2, trust_env=False).status_code == 202:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise ProgramFailed("the no-op server does not answer")
