"""The process between `raytasks up` or `raytasks worker` and Ray: starts it, keeps it running.

`ray start --head --block` ends everything when gcs_server dies. This process starts it again, with
the command line and the environment that it had; it reads its tables from the control store, and
raylets, actors and drivers connect to it again by themselves. So it is for the other helpers of the
node. Only the raylet cannot come back alone, since all workers die with it, nor can a gcs_server
whose tables were in its memory: then this process ends with 1, and everything below it. It is a
process of its own so that Ray ends also when our command is killed.
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
    """How often something may be started again: so many times in so many seconds."""

    limit: int = 5
    seconds: float = 60.0
    times: deque[float] = field(default_factory=deque)

    def allow(self, now: float) -> bool:
        """Count one more, and return whether that is within the limit."""
        while self.times and now - self.times[0] >= self.seconds:
            self.times.popleft()
        self.times.append(now)
        return len(self.times) <= self.limit


@dataclass(frozen=True)
class Helper:
    """One process of the node: all that it takes to start it again."""

    name: str
    command: list[str]
    environment: dict[str, str]

    @classmethod
    def read(cls, process: psutil.Process) -> Self:
        """Look at a process that runs."""
        command = process.cmdline()
        scripts = (word for word in command if re.fullmatch(r"[^-].*\.py|ray(\.\w+)+", word))
        name = Path(next(scripts, command[0])).name.removesuffix(".py")
        return cls(name, command, process.environ())

    def start(self) -> int:
        """Start it, and return its process id."""
        # As Ray starts it: a Ctrl-C in the terminal is not for it.
        return os.posix_spawn(
            self.command[0], self.command, self.environment, setsigmask=[signal.SIGINT]
        )


class _Stopped(Exception):
    """We were told to stop."""


def main() -> int:
    """Start Ray with the options of `ray start` that are given, and stay until it ends."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, _raise_stopped)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", *sys.argv[1:]]
    try:
        if subprocess.run(start, check=False).returncode:  # noqa: S603 - our own command, no shell
            return 1
        return _keep(_helpers())
    except _Stopped:
        return 0
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _stop_all()


def _helpers() -> dict[int, Helper]:
    """Return what `ray start` has left running: its children are ours now."""
    return {child.pid: Helper.read(child) for child in psutil.Process().children()}


def _keep(helpers: dict[int, Helper]) -> int:
    """Start again what dies, until one cannot come back; return the exit code."""
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
    """Stop the raylet in order, and its workers with it; the others have nothing to tidy up."""
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
    raise _Stopped


if __name__ == "__main__":
    sys.exit(main())
