"""A program with all that it starts: it is ended with every process below it, and no other."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]
"""The checkout: all programs import raytasks and the benchmarks from here."""

_MARK = "BENCHMARK_PROGRAM"
_STOP_SECONDS = 60.0
_START_SECONDS = 120.0


class ProgramFailed(Exception):
    """A program did not start, or has ended. The text has the end of its log."""


class Program:
    """A program that runs. Its output goes to `log`, its working directory is the log's folder.

    What it starts inherits a mark in its environment, by which it is found when the program has
    ended and left something behind.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        environment: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.log = log
        self._mark = uuid.uuid4().hex
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder or log.parent,
                env={**(environment if environment is not None else clean()), _MARK: self._mark},
                start_new_session=True,  # a Ctrl-C is for us: we stop it after our own work
            )

    def wait_for(self, text: str, seconds: float = _START_SECONDS) -> str:
        """Return the log once it has a text. Raises `ProgramFailed`."""
        deadline = time.monotonic() + seconds
        while text not in (log := self.log.read_text(errors="replace")):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ProgramFailed(f"{self.process.args!r} did not start:\n{log[-3000:]}")
            time.sleep(0.05)
        return log

    def family(self) -> list[psutil.Process]:
        """Return its process and all below it."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self, with_signal: int = signal.SIGINT) -> None:
        """Stop it in order, then kill what is left."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_STOP_SECONDS)
        for left in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if left.environ().get(_MARK) == self._mark:
                    left.kill()
        self.process.wait()


class Conversation:
    """A program of ours that answers each line, a JSON value, with a line: a JSON object."""

    def __init__(self, module: str, *arguments: str, environment: Mapping[str, str]) -> None:
        self._mark = uuid.uuid4().hex
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env={**environment, _MARK: self._mark},
            start_new_session=True,
        )

    def ask(self, question: Any) -> dict[str, Any]:
        """Send a line, and return the answer. Raises `ProgramFailed`."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        # Ray itself may write a line into the same output.
        for line in self.process.stdout:
            if line.startswith(b"{"):
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise ProgramFailed(f"{self.process.args!r} has ended")

    def family(self) -> list[psutil.Process]:
        """Return its process and all below it."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def stop(self) -> None:
        """Close its input, so that it ends, then kill what is left."""
        assert self.process.stdin is not None
        family = self.family() if self.process.poll() is None else []
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_STOP_SECONDS)
        for left in family:
            with contextlib.suppress(psutil.Error):
                left.kill()
        self.process.wait()


def clean(**more: str) -> dict[str, str]:
    """Return the environment for a program: ours, without what would change the settings."""
    from raytasks.settings import Settings

    ours = {name.upper() for name in Settings.model_fields}
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith(("RAY_", "RAYTASKS_"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), **more}
