"""Ray processes: start a head, join a machine to a cluster, stop them, end leftovers."""

import atexit
import contextlib
import ctypes
import ipaddress
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.exceptions import AuthenticationError

from raytasks.cluster import token as ray_token
from raytasks.cluster.control_store import ControlStore
from raytasks.cluster.environment import ray_environment
from raytasks.cluster.ingress import check_open_files, replica_ports
from raytasks.cluster.node_resources import NodeResources
from raytasks.cluster.ports import free_port
from raytasks.model.lines import one_line
from raytasks.model.tasks import RaytasksError

RAY_PORT = 6379
DASHBOARD_PORT = 8265
AGENT_PORT = 52365
_START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_ANSWER_SECONDS = 10.0
_LEFTOVER_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1  # prctl(2)
OWNER = "RAYTASKS_OWNER"
"""The variable that marks all processes of a run of ours with its owner."""

_NONE_FOUND = (
    "no Ray cluster found; start one with 'raytasks up', or say where one is with "
    "RAYTASKS_RAY_ADDRESS or --address"
)
_FROM_THE_HEAD = "copy ~/.ray/auth_token from the machine of the head to here"
# Only on Linux can `ray_node` adopt the processes that `ray start` leaves behind.
EVERYTHING = NodeResources()
"""Resources of a machine as Ray detects them."""

_RAY_START = (
    [sys.executable, "-m", "raytasks.cluster.ray_node"]
    if sys.platform == "linux"
    else [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
)


class ClusterError(RaytasksError):
    """Ray could not be started or joined. The text says why, in one line."""


class RayEnded(ClusterError):
    """Ray, which this process had started, has ended by itself."""


@dataclass
class RayProcess:
    """Ray on this machine: the process that we started, and all processes below it."""

    process: "subprocess.Popen[bytes]"
    address: str
    log: Path
    store: ControlStore | None = None
    dashboard_url: str | None = None

    def alive(self) -> bool:
        """Return whether the process still runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Stop Ray in order. Processes that do not end by themselves are killed."""
        if self.alive():
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        _kill_marked(lambda mark: mark == owner_mark())
        if self.store is not None:
            self.store.remove()

    def last_words(self) -> str:
        """Return the last line of the log, and where the rest is."""
        text = self.log.read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return f"{lines[-1] if lines else 'no output'} (see {self.log})"


def start_head(
    store: ControlStore, *, dashboard: bool = True, resources: NodeResources = EVERYTHING
) -> RayProcess:
    """Start a Ray cluster on this machine, which others can join. Raises `ClusterError`.

    The returned process owns the control store, and removes it when the head has stopped. A machine
    that joins needs Ray's token, which is made if there is none.
    """
    check_open_files()
    try:
        ray_token.make_token()
    except OSError as error:
        raise ClusterError(f"the Ray token cannot be made: {error}") from None
    port = free_port(RAY_PORT)
    if resources.address is not None:
        _check_is_here(resources.address)
    address = f"{resources.address or ray.util.get_node_ip_address()}:{port}"
    dashboard_port = free_port(DASHBOARD_PORT)
    arguments = [
        f"--port={port}",
        f"--include-dashboard={str(dashboard).lower()}",
        "--dashboard-host=127.0.0.1",
        f"--dashboard-port={dashboard_port}",
        f"--ray-client-server-port={free_port(10001)}",
        *_agent_arguments(),
        *store.arguments,
    ]
    arguments += resources.arguments()
    head = _start([*_RAY_START, "--head", *arguments], address, store)
    head.dashboard_url = f"http://127.0.0.1:{dashboard_port}" if dashboard else None
    return head


def start_worker(address: str, *, resources: NodeResources = EVERYTHING) -> RayProcess:
    """Join this machine to the cluster at `address`, with the resources that Ray may use.

    Raises `ClusterError`.
    """
    check_open_files()
    _check_answers(address)
    command = [*_RAY_START, f"--address={address}", *_agent_arguments()]
    command += resources.arguments()
    try:
        return _start(command, address)
    except ClusterError as error:
        raise ClusterError(f"{error}; if the head asks for Ray's token, {_FROM_THE_HEAD}") from None


def connect(address: str) -> None:
    """Connect this process to a cluster as a driver. Raises `ClusterError`."""
    ray_token.use_token()
    if address == "auto":
        address = _found_address()
    if "://" not in address and address != "local":
        _check_answers(address)
        _check_is_ray(address)
    try:
        ray.init(
            address=address,
            namespace="raytasks",
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=True,
        )
    except AuthenticationError:
        raise ClusterError(f"Ray at {address} asks for its token; {_FROM_THE_HEAD}") from None
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = one_line(error)
        raise ClusterError(
            f"RAY_ADDRESS: cannot connect to Ray at {address}: {reason}; "
            f"if it asks for its token, {_FROM_THE_HEAD}"
        ) from None


def disconnect() -> None:
    """Disconnect this process from its cluster, if it is connected."""
    ray.shutdown()


def forget() -> None:
    """Have this process say nothing to its cluster at its end.

    For one that has ended: that would wait for a minute.
    """
    atexit.unregister(ray.shutdown)


def end_leftovers() -> int:
    """End the leftovers of our own killed runs, and return the number of processes.

    All Ray processes that we start, and HAProxy below them, have a mark of their owner. Only those
    whose owner is gone are ended.
    """
    return _kill_marked(is_lost)


def listener_on(host: str, port: int, setting: str = "--host") -> str | None:
    """Return who listens on a port, e.g. `nginx (pid 17)`; None if it is free.

    Raises `ClusterError`, which names the `setting`, for a host that is not this machine's.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno != 98:  # EADDRINUSE
                raise ClusterError(
                    f"{setting}: cannot listen on {host}:{port}: {error.strerror}"
                ) from None
        else:
            return None
    for process in psutil.process_iter(["name"]):
        if port in _ports_of(process):
            return f"{process.info['name']} (pid {process.pid})"
    return "another process"


def _agent_arguments() -> list[str]:
    """Return a free port for the dashboard's agent: another Ray may be on this machine."""
    return [f"--dashboard-agent-listen-port={free_port(AGENT_PORT)}"]


def _start(command: list[str], address: str, store: ControlStore | None = None) -> RayProcess:
    log = Path(tempfile.mkstemp(prefix="raytasks-ray-", suffix=".log")[1])
    of_head = {**store.environment, **replica_ports()} if store else {}
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **ray_environment(), **of_head, OWNER: owner_mark()},
            # A Ctrl-C in the terminal is for this process alone, which stops Ray after its own
            # work.
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - it makes one system call
        )
    started = RayProcess(process, address, log, store)
    deadline = time.monotonic() + _START_SECONDS
    while b"Ray runtime started" not in log.read_bytes():
        if not started.alive() or time.monotonic() > deadline:
            started.stop()
            raise ClusterError(f"Ray did not start: {started.last_words()}")
        time.sleep(0.05)  # its log is the only signal that it gives
    return started


def _check_is_here(address: str) -> None:
    """Refuse what is no IPv4 address of this machine: nobody would reach Ray there."""
    try:
        with socket.socket() as probe:
            probe.bind((str(ipaddress.IPv4Address(address)), 0))
    except (OSError, ValueError):
        raise ClusterError(
            f"--node-address: {address!r} is no IPv4 address of this machine"
        ) from None


def _check_answers(address: str) -> None:
    """Refuse an address where nothing listens. Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"the Ray address {address!r} is not HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        reason = error.strerror or error
        raise ClusterError(f"no Ray cluster answers at address {address}: {reason}") from None


def _found_address() -> str:
    """Return the address of the cluster that runs here, or the one in RAY_ADDRESS."""
    from ray._private import services  # no public call gives it without a connection

    try:
        found: str | None = services.canonicalize_bootstrap_address("auto")
    except ConnectionError:
        raise ClusterError(_NONE_FOUND) from None
    except ValueError as error:
        raise ClusterError(f"RAY_ADDRESS: {one_line(error)}") from None
    if found is None:
        raise ClusterError(_NONE_FOUND)
    return found


def _check_is_ray(address: str) -> None:
    """Refuse a listener that is no Ray cluster. Ray itself would try for minutes."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(Exception):  # it answers: `ray.init` explains other errors better
            raylet: Any = ray._raylet
            raylet.GcsClient(address=address)
        answered.set()

    threading.Thread(target=ask, daemon=True).start()
    if not answered.wait(_ANSWER_SECONDS):
        raise ClusterError(f"what listens at {address} does not answer as a Ray cluster")


def _die_with_parent() -> None:
    """Have the kernel stop Ray when this process is killed, so that nothing is left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def owner_mark() -> str:
    """Return the mark of this process: its id, its start time, and where its id is valid.

    Ids are used again, and each container has its own.
    """
    return f"{os.getpid()}:{_began(os.getpid())}:{_container()}"


def is_lost(mark: str) -> bool:
    """Return whether the process with this mark is gone. A process of another container is not."""
    if is_elsewhere(mark):
        return False
    pid, began = mark.split(":")[:2]
    try:
        return _began(int(pid)) != began
    except (psutil.NoSuchProcess, FileNotFoundError):
        return True
    except (psutil.Error, OSError):
        return False


def is_elsewhere(mark: str) -> bool:
    """Return whether the process with this mark is of another container: its id is none here."""
    return mark.count(":") == 2 and mark.rpartition(":")[2] != _container()


def _container() -> str:
    """Return the number of the namespace in which process ids are valid; empty if unknown."""
    try:
        return str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return ""


def _began(pid: int) -> str:
    """Return the start time of a process; on Linux it does not depend on the set clock."""
    if sys.platform != "linux":
        return str(psutil.Process(pid).create_time())
    # proc_pid_stat(5): of the fields after the name, the 20th is the start in clock ticks.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _kill_marked(chosen: Callable[[str], bool]) -> int:
    """Kill the processes whose mark is `chosen`, and return their number."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            mark = process.environ().get(OWNER)
            if mark and chosen(mark):
                process.kill()
                found.append(process)
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    while any(map(runs, found)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return len(found)


def runs(process: psutil.Process) -> bool:
    """Return whether a process runs."""
    # A dead process stays in the process table until its parent has waited for it.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _ports_of(process: psutil.Process) -> set[int]:
    try:
        connections = process.net_connections(kind="tcp")
    except psutil.Error:
        return set()
    return {item.laddr.port for item in connections if item.status == psutil.CONN_LISTEN}
