"""The service of `raytasks demo`: a `raytasks up` of its own, with its files in a folder."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from raytasks.cli import tables
from raytasks.model.tasks import RaytasksError

START_SECONDS = 120.0
_STOP_SECONDS = 60.0
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_LOOK_SECONDS = 0.1


class DemoError(RaytasksError):
    """The demonstration failed. The text says what went wrong."""


@dataclass(frozen=True)
class DemoService:
    """A service that runs: the URL of its API, and the process of its `raytasks up`."""

    url: str
    process: "subprocess.Popen[bytes]"

    def keep(self) -> None:
        """Return at Ctrl-C. Raises `DemoError` if the service ends by itself."""
        with suppress(KeyboardInterrupt):
            code = self.process.wait()
            raise DemoError(f"the service has ended by itself, with exit code {code}")


@contextmanager
def demo_service(port: int, modules: Sequence[str], **settings: str) -> Iterator[DemoService]:
    """Run a service until the block ends; SIGTERM and SIGHUP end the block, too.

    Its API listens at the port; 0 stands for a free one. It loads the modules of handlers, and has
    these settings. Raises `DemoError` if it does not start, or does not end in order.
    """
    from raytasks.cluster.ports import free_port

    for number in _ENDING:
        signal.signal(number, _end)
    folder = Path(tempfile.mkdtemp(prefix="raytasks-demo-"))
    port = port or free_port(8000)
    log = folder / "up.log"
    command = [sys.executable, "-m", "raytasks", "up", f"--port={port}"]
    tables.console.print(f"Starting Ray and the service; its log is {log}", soft_wrap=True)
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment_of(folder, modules, **settings),
            # A Ctrl-C in the terminal is for this process only, which then stops the service once.
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, log)
        yield DemoService(f"http://127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise DemoError(f"the service did not stop; see {log}") from None
        except KeyboardInterrupt:
            process.kill()  # Ray ends with it
            raise
    if code != 0:
        raise DemoError(f"the service ended with exit code {code}; see {log}")
    tables.console.print("The service has stopped.")


def environment_of(folder: Path, modules: Sequence[str], **settings: str) -> dict[str, str]:
    """Return the environment of the demo's service, which keeps its own files in a folder.

    The names are those that win, so a project's `.env` changes none of them.
    """
    from raytasks.settings import PREFIX, sqlite_url

    own = {
        "DATABASE_URL": sqlite_url(folder / "tasks.db"),
        "REDIS_URL": "",
        "RAY_ADDRESS": "",
        "API_KEYS": "",  # the service is for this machine alone
        "DEBUG": "true",
        "TASK_MODULES": ",".join(modules),
        "STOP_GRACE_SECONDS": "1",
        **settings,
    }
    named = {f"{PREFIX}{name}": value for name, value in own.items()}
    return {**os.environ, "RAY_ADDRESS": "", **named}


def _end(number: int, _frame: object) -> None:
    for other in _ENDING:  # one more must not keep the service from being stopped
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)  # through the `finally` that stops the service


def _wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Show what `up` says, until it has announced where the service is."""
    from raytasks.cli.up import ANNOUNCED

    deadline = time.monotonic() + START_SECONDS
    told = 0
    while True:
        *lines, _unfinished = log.read_text(errors="replace").split("\n")
        for line in lines[told:]:
            if line.startswith(ANNOUNCED):
                return
            tables.console.print(f"  {line}", style="dim", markup=False, soft_wrap=True)
        told = len(lines)
        if process.poll() is not None:
            raise DemoError(f"the service did not start; see {log}")
        if time.monotonic() > deadline:
            raise DemoError(f"the service was not ready after {START_SECONDS:g} s; see {log}")
        time.sleep(_LOOK_SECONDS)
