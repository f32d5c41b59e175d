"""The processor time of a start: from `raytasks up` to the first finished task, by process.

    python -m benchmarks.start_cost [--idle 10] [--set NAME=VALUE]

It looks at all processes below the service several times a second. What a process took after the
last look at it is missed, so the sum is some percent too low.
"""

import argparse
import contextlib
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import httpx
import psutil

from benchmarks.handlers import BODY
from benchmarks.servers.ports import quiet_port
from benchmarks.servers.programs import Program, ProgramFailed, clean

_LOOK_SECONDS = 0.2
_START_SECONDS = 180.0
_READY = "Ctrl-C"  # the last line of the announcement
_SHOWN_SECONDS = 0.05


class Family:
    """The processes of a program, those that have ended as well."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._seconds: dict[psutil.Process, float] = {}
        self._names: dict[psutil.Process, str] = {}

    def look(self) -> None:
        """Note how much processor time each process has taken."""
        for process in self._program.family():
            with contextlib.suppress(psutil.Error):
                times = process.cpu_times()
                self._seconds[process] = times.user + times.system
                self._names[process] = _name(process.cmdline()) or self._names[process]

    def seconds(self) -> dict[str, float]:
        """Return the seconds of processor time until the last look, by kind of process."""
        found: dict[str, float] = defaultdict(float)
        for process, seconds in self._seconds.items():
            found[self._names.get(process, "?")] += seconds
        return found

    def count(self, name: str) -> int:
        """Return how many processes of a kind there were."""
        return sum(known == name for known in self._names.values())


def _name(command: list[str]) -> str:
    """Return the kind of a process; a worker of Ray has one after its work."""
    first, *rest = [word for word in command if word] or [""]
    if first.startswith("ray::"):
        return first.partition(".")[0].partition(" ")[0]
    words = [word for word in rest if word.endswith(".py") or word.startswith(("ray.", "raytasks"))]
    return Path(words[0] if words else first).name


def main() -> None:
    """Measure, and print."""
    asked = _asked()
    with tempfile.TemporaryDirectory(prefix="raytasks-bench-") as name:
        folder = Path(name)
        port = quiet_port()
        settings = {
            "DATABASE_URL": f"sqlite:///{folder}/tasks.db",
            "ARTIFACTS_URL": str(folder / "artifacts"),
            "RAY_AUTH_TOKEN_PATH": str(folder / "ray-token"),
            "TASK_MODULES": "benchmarks.handlers",
            **dict(item.split("=", 1) for item in asked.set),
        }
        up = [sys.executable, "-m", "raytasks", "up", f"--port={port}", "--num-cpus=2"]
        began = time.monotonic()
        program = Program([*up, "--no-dashboard"], folder / "up.log", clean(**settings))
        try:
            family = Family(program)
            _until_ready(program, family)
            _run_one(f"http://127.0.0.1:{port}")
            family.look()
            started, wall = family.seconds(), time.monotonic() - began
            _idle(family, asked.idle)
            _show(family, started, wall, asked.idle)
        finally:
            program.stop()


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the start of a service costs.")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds after it")
    parser.add_argument("--set", action="append", default=[], help="NAME=VALUE for its environment")
    return parser.parse_args()


def _until_ready(program: Program, family: Family) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while _READY not in (said := program.log.read_text()):
        if program.process.poll() is not None or time.monotonic() > deadline:
            raise ProgramFailed(f"the service did not start:\n{said}")
        family.look()
        time.sleep(_LOOK_SECONDS)


def _run_one(url: str) -> None:
    with httpx.Client(base_url=url, timeout=70, trust_env=False) as http:
        task = http.post("/tasks/", json=BODY).json()
        ended = http.get(f"/tasks/{task['task_id']}", params={"wait": 60}).json()
        if ended["state"] != "COMPLETED":
            raise ProgramFailed(f"the first task has ended as {ended['state']}")


def _idle(family: Family, seconds: float) -> None:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(_LOOK_SECONDS, left))
        family.look()


def _show(family: Family, started: dict[str, float], wall: float, idle: float) -> None:
    total = sum(started.values())
    print(f"until the first task has ended: {total:.1f} s of a processor in {wall:.0f} s")
    for name, seconds in sorted(started.items(), key=lambda item: -item[1]):
        if seconds >= _SHOWN_SECONDS:
            print(f"{seconds:8.2f}  {family.count(name):3}  {name}")
    if idle:
        later = sum(family.seconds().values()) - total
        print(f"idle after that: {100 * later / idle:.0f} % of a processor")


if __name__ == "__main__":
    main()
