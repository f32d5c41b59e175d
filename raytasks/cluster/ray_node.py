"""The process between `raytasks up` or `raytasks worker` and Ray: it keeps Ray running.

`ray start --head --block` ends everything when gcs_server dies. This process instead starts
gcs_server again, with its old command line and environment. Then gcs_server reads its tables from
the control store. Raylets, actors and drivers reconnect by themselves. The node's other helpers are
restarted in the same way. Two helpers cannot be restarted: the raylet, since all workers die with
it, and a gcs_server whose tables were in memory. When one of those dies, this process ends with 1,
and all processes below it end too. A raylet also ends by itself, when it was told to leave the
cluster and nothing runs there any more. Then this process ends with 0. It is a separate process so
that Ray ends also when our command is killed.
"""

import contextlib
import ctypes
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_STOP_SECONDS = 4.0
_REAP_SECONDS = 0.1

logger = logging.getLogger("raytasks.cluster.ray_node")


@dataclass
class Restarts:
    """The limit of restarts: at most `limit` in `seconds`."""

    limit: int = 5
    seconds: float = 60.0
    times: deque[float] = field(default_factory=deque)

    def allow(self, now: float) -> bool:
        """Count one more restart, and return whether it is within the limit."""
        while self.times and now - self.times[0] >= self.seconds:
            self.times.popleft()
        self.times.append(now)
        return len(self.times) <= self.limit


@dataclass(frozen=True)
class Helper:
    """One process of the node, with all that is needed to start it again."""

    name: str
    command: list[str]
    environment: dict[str, str]

    @classmethod
    def read(cls, process: psutil.Process) -> Self:
        """Read the command line and environment of a running process."""
        command = process.cmdline()
        scripts = (word for word in command if re.fullmatch(r"[^-].*\.py|ray(\.\w+)+", word))
        name = Path(next(scripts, command[0])).name.removesuffix(".py")
        return cls(name, command, process.environ())

    def start(self) -> int:
        """Start the process, and return its id."""
        # As Ray starts it: it ignores a Ctrl-C in the terminal.
        return os.posix_spawn(
            self.command[0], self.command, self.environment, setsigmask=[signal.SIGINT]
        )


class _Stopped(Exception):
    """A signal told this process to stop."""


def main() -> int:
    """Start Ray with the given options of `ray start`, and stay until it ends."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, _raise_stopped)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", *sys.argv[1:]]
    code = 0
    try:
        with contextlib.suppress(_Stopped):
            try:
                started = subprocess.run(start, check=False)  # noqa: S603 - our own command
                code = 1 if started.returncode else _keep(_helpers())
            finally:
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
    finally:
        _stop_all()
    return code


def _helpers() -> dict[int, Helper]:
    """Return the processes that `ray start` has left running: this process has adopted them."""
    return {child.pid: Helper.read(child) for child in psutil.Process().children()}


def _keep(helpers: dict[int, Helper]) -> int:
    """Restart helpers that die, until one cannot be restarted. Return the exit code."""
    vital = {"raylet"}
    if os.environ.get("RAY_gcs_storage") == "memory":  # noqa: SIM112 - Ray's name for it
        vital.add("gcs_server")
    restarts = {helper.name: Restarts() for helper in helpers.values()}
    while True:
        pid, status = os.waitpid(-1, 0)
        helper = helpers.pop(pid, None)
        if helper is None:
            continue  # the child of a worker that has died
        ended = f"{helper.name} has ended ({_end_of(status)})"
        if helper.name == "raylet" and status == 0:
            logger.info("the node was told to leave, and nothing runs there any more")
            return 0
        if helper.name in vital:
            logger.error(ended)
            return 1
        allowed = restarts[helper.name]
        if not allowed.allow(time.monotonic()):
            logger.error("%s, %d times in %g seconds", ended, len(allowed.times), allowed.seconds)
            return 1
        helpers[helper.start()] = helper
        logger.warning("%s, and was started again", ended)


def _end_of(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _stop_all() -> None:
    """Stop the raylet in order, and its workers with it. The others have nothing to clean up."""
    raylets = [child for child in psutil.Process().children() if child.name() == "raylet"]
    for raylet in raylets:
        raylet.terminate()
    psutil.wait_procs(raylets, _STOP_SECONDS)
    while left := psutil.Process().children(recursive=True):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(left, _REAP_SECONDS)  # its grandchildren become our children


def _raise_stopped(_number: int, _frame: Any) -> None:
    # The kernel sends one for each thread of our command that dies before the last one of them.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main())
