"""A head of Ray that a service joins: started by a test, as its user would."""

import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from tests.cluster.conftest import START_SECONDS


@contextlib.contextmanager
def head_of_others(
    command: Sequence[str], log: Path, environment: Mapping[str, str]
) -> Iterator[str]:
    """Start a head by a command that stays; yield its address. All of it ends with the block."""
    with log.open("wb") as output:
        ray = subprocess.Popen(command, stdout=output, stderr=output, env=dict(environment))
    try:
        wait_for(log, "Ray runtime started", ray)
        yield log.read_text().partition("--address='")[2].partition("'")[0]
    finally:
        below = []  # also the nodes that an autoscaler has started
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(ray.pid).children(recursive=True)
        ray.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            ray.wait(20)
        for process in below:
            with contextlib.suppress(psutil.Error):
                process.kill()
        ray.kill()
        ray.wait(10)


def wait_for(log: Path, text: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a process has written a text into its log."""
    deadline = time.monotonic() + START_SECONDS
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
