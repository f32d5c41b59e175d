"""Runs commands at the same time: `python -m tests.side_by_side lint='make lint' unit='pytest …'`.

Each line of output stands behind the name of its command. It ends when all have ended, with 1 if
any of them failed.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

ENDING_SECONDS = 60.0
"""How long a command may take to end after SIGINT, before it is killed."""

_WRITING = threading.Lock()


@dataclass(frozen=True)
class Lane:
    """A command with the name that its output carries."""

    name: str
    command: list[str]

    @classmethod
    def read(cls, text: str) -> "Lane":
        """Read `name=command`. Raises `ValueError` if either is missing."""
        name, _, command = text.partition("=")
        if not (name and command):
            raise ValueError(f"{text!r} is not name=command")
        return cls(name, shlex.split(command))


@dataclass(frozen=True)
class Ended:
    """How a command ended: the exit code is negative for a signal, None after the time-out."""

    lane: Lane
    code: int | None
    seconds: float

    @property
    def line(self) -> str:
        """One line that says how it went."""
        how = {0: "passed", None: "was ended: out of time"}.get(
            self.code, f"failed with exit code {self.code}"
        )
        return f"{self.lane.name}: {how}, after {self.seconds:.0f} s"


class Running:
    """A command that runs in a session of its own; its lines are printed as they come."""

    def __init__(self, lane: Lane, width: int) -> None:
        self._lane = lane
        self._began = time.monotonic()
        self.process = subprocess.Popen(
            lane.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._printing = threading.Thread(target=self._print, args=(lane.name.ljust(width),))
        self._printing.start()

    def wait(self, deadline: float) -> Ended:
        """Wait until it has ended, or end it when the time of the monotonic clock is over."""
        code: int | None = None
        with suppress(subprocess.TimeoutExpired):
            code = self.process.wait(max(0.0, deadline - time.monotonic()))
        self.end()
        return Ended(self._lane, code, time.monotonic() - self._began)

    def end(self) -> None:
        """Interrupt it as Ctrl-C does, kill what has not ended soon, and what is left of it."""
        if self.process.poll() is None:
            self._signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(ENDING_SECONDS)
        self._signal(signal.SIGKILL)  # what it has left would keep the pipe open
        self.process.wait()
        self._printing.join()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def _print(self, name: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with _WRITING:  # `print` alone writes the end of a line for itself
                print(f"{name} | {line.rstrip()}", flush=True)


class Interrupts:
    """The signals that end this program: `KeyboardInterrupt` each, unless they are held back."""

    def __init__(self) -> None:
        self._is_held = self._has_come = False

    def __call__(self, _number: int, _frame: object) -> None:
        """Handle a signal."""
        self._has_come = True
        if not self._is_held:
            raise KeyboardInterrupt

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Raise only at the end of the block what comes within it."""
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False
        if self._has_come:
            raise KeyboardInterrupt


_INTERRUPTS = Interrupts()


def run_all(lanes: list[Lane], seconds: float) -> list[Ended]:
    """Run the commands, all of them for `seconds` at most.

    None of them is left when this raises, `KeyboardInterrupt` too.
    """
    width = max(len(lane.name) for lane in lanes)
    deadline = time.monotonic() + seconds
    pool = ThreadPoolExecutor(2 * len(lanes))
    running: list[Running] = []
    try:
        for lane in lanes:
            with _INTERRUPTS.held_back():  # else one that was just started would be left
                running.append(Running(lane, width))
        waiting = [pool.submit(item.wait, deadline) for item in running]
        return [item.result() for item in waiting]
    except BaseException:
        list(pool.map(Running.end, running))
        raise
    finally:
        pool.shutdown()


def main() -> int:
    """Run what the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Run commands at the same time.")
    parser.add_argument("--seconds", type=float, default=4500.0, help="for each of them")
    parser.add_argument("lanes", nargs="+", metavar="name=command", type=Lane.read)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _INTERRUPTS)
    # Who runs this in the background has SIGINT ignored, and the commands would inherit that.
    signal.signal(signal.SIGINT, _INTERRUPTS)
    try:
        ended = run_all(given.lanes, given.seconds)
    except KeyboardInterrupt:
        return 130
    print("\n".join(item.line for item in ended))
    return int(any(item.code != 0 for item in ended))


if __name__ == "__main__":
    sys.exit(main())
