"""The processes of a running service, by what they do: found below `raytasks up`, by name."""

import contextlib
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.cluster.conftest import Service

TRACKER = "ray::TrackerActor"
WARM_RUNNER = "ray::WarmRunner"
TASK_RUNNER = "ray::TaskRunner"
REPLICA = "ray::ServeReplica:raytasks:api"
CONTROLLER = "ray::ServeController"
HAPROXY = "haproxy"
CONTROL_STORE = "gcs_server"
RAYLET = "raylet"

PATIENCE_SECONDS = 60.0


def processes(
    service: Service, name: str, below: psutil.Process | None = None
) -> list[psutil.Process]:
    """Return the service's processes whose command line begins with a name.

    They are those of `raytasks up`, or those `below` another process, such as a worker's.
    """
    found = []
    root = below or psutil.Process(service.process.pid)
    children = root.children(recursive=True) if runs(root) else []
    for process in children:
        with contextlib.suppress(psutil.Error):
            program = (process.cmdline() or [""])[0]
            if Path(program).name.startswith(name) and runs(process):
                found.append(process)
    return found


def only(service: Service, name: str) -> psutil.Process:
    """Return the one process with this name, once it runs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found := processes(service, name)) != 1:
        assert time.monotonic() < deadline, (name, found)
        time.sleep(0.1)  # a look at all processes takes long
    return found[0]


def runs(process: psutil.Process) -> bool:
    """Return whether a process runs; one that is dead stays until its parent has looked."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(*victims: psutil.Process) -> None:
    """End processes as nothing can catch, and wait until they are gone."""
    for process in victims:
        process.kill()
    _, left = psutil.wait_procs(victims, timeout=10)
    assert not left


def kill_control_store(service: Service) -> None:
    """Kill gcs_server, and wait until there is another one."""
    old = only(service, CONTROL_STORE)
    kill(old)
    assert only(service, CONTROL_STORE) != old


def wait_gone(*victims: psutil.Process, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until none of the processes runs any more, whoever ends them."""
    deadline = time.monotonic() + seconds
    while left := [process for process in victims if runs(process)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


@contextmanager
def frozen(*victims: psutil.Process) -> Iterator[None]:
    """Hold processes up as a machine without processor time does, until the block ends."""
    for process in victims:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in victims:
            if process.is_running():
                process.send_signal(signal.SIGCONT)


def wait_for_nodes(service: Service, nodes: int, log: Path) -> None:
    """Wait until the cluster has so many nodes; `log` is that of the one which comes or goes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := service.http.get("/health").json()["ray"]["nodes"]) != nodes:
        assert time.monotonic() < deadline, (found, log.read_text())
        time.sleep(0.1)


@contextmanager
def released(gate: Path) -> Iterator[None]:
    """Let the tasks that wait for this file end with the block, whatever happens in it."""
    try:
        yield
    finally:
        gate.touch()


def marks(file: Path) -> list[tuple[int, int]]:
    """Return what attempts have written that have begun: (attempt, process id)."""
    if not file.exists():
        return []
    lines = [line.split() for line in file.read_text().splitlines()]
    return [(int(attempt), int(pid)) for attempt, pid in lines]


def begun(file: Path, attempts: int = 1) -> psutil.Process:
    """Wait until so many attempts have begun, and return the process of the last of them."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found := marks(file)) < attempts:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)
    return psutil.Process(found[-1][1])
