"""A peer that runs: its database server, its HTTP front, and its workers."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from benchmarks.peers.environments import ready
from benchmarks.peers.peer import Command, Peer
from benchmarks.servers.ports import quiet_port
from benchmarks.servers.postgres import running_postgres
from benchmarks.servers.programs import Program, ProgramFailed, clean
from benchmarks.servers.redis import running_redis

_START_SECONDS = 90.0
_DRAIN_SECONDS = 600.0
_POLL_SECONDS = 0.05


class RunningPeer:
    """A running peer: its server, its front and its workers."""

    def __init__(
        self, peer: Peer, folder: Path, variables: dict[str, str], stack: ExitStack
    ) -> None:
        self._peer = peer
        self._folder = folder
        self._port = quiet_port()
        self._bin = ready(peer.path)
        # Not the path of our own modules: the peers have an environment of their own.
        own = {"PYTHONPATH": str(peer.path)}
        self._variables = {**clean(), **peer.variables, **variables, **own}
        self._stack = stack
        self.url = f"http://127.0.0.1:{self._port}"
        self._http = stack.enter_context(
            httpx.Client(base_url=self.url, timeout=300, trust_env=False)
        )

    def start(self) -> None:
        """Start the HTTP front, and return when it answers."""
        if self._peer.prepare is not None:
            command = self._command(self._peer.prepare)
            subprocess.run(command, cwd=self._peer.path, env=self._variables, check=True)
        front = self._program(self._peer.front, "front")
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if front.process.poll() is not None or time.monotonic() > deadline:
                raise ProgramFailed(f"{self._peer.name}:\n{front.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def start_workers(self) -> None:
        """Start what runs the tasks."""
        for number, worker in enumerate(self._peer.workers):
            self._program(worker, f"worker-{number}")

    def fill(self, tasks: int) -> None:
        """Queue tasks."""
        self._http.post("/fill", params={"tasks": tasks}).raise_for_status()

    def completed(self) -> int:
        """Return how many tasks are done."""
        number: int = self._http.get("/completed").raise_for_status().json()["completed"]
        return number

    def wait_completed(self, tasks: int, seconds: float = _DRAIN_SECONDS) -> float:
        """Wait until so many tasks are done; return when that was seen (monotonic)."""
        deadline = time.monotonic() + seconds
        while self.completed() < tasks:
            if time.monotonic() > deadline:
                raise ProgramFailed(f"{self._peer.name}: {self.completed()} of {tasks} are done")
            time.sleep(_POLL_SECONDS)
        return time.monotonic()

    def _answers(self) -> bool:
        try:
            return self._http.get("/completed", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def _program(self, command: Command, name: str) -> Program:
        log = self._folder / f"{name}.log"
        program = Program(self._command(command), log, self._variables, self._peer.path)
        self._stack.callback(program.stop, signal.SIGKILL)  # nothing of it is needed any more
        return program

    def _command(self, command: Command) -> list[str]:
        return [part.format(bin=self._bin, port=self._port) for part in command]


@contextmanager
def running_peer(
    peer: Peer, folder: Path, variables: dict[str, str] | None = None
) -> Iterator[RunningPeer]:
    """Run a peer's server and HTTP front with their files in a folder; the workers come later."""
    folder.mkdir(parents=True, exist_ok=True)
    more = {**(variables or {}), "PEER_ADDRESS_FILE": str(folder / "address")}
    with ExitStack() as stack:
        if peer.server == "redis":
            more["REDIS_URL"] = stack.enter_context(running_redis(folder / "redis"))
        else:
            more["DATABASE_URL"] = stack.enter_context(running_postgres()).new_database()
        running = RunningPeer(peer, folder, more, stack)
        running.start()
        yield running
