"""A node that joins a service's cluster on the same machine, as `raytasks worker` makes one."""

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.cluster.conftest import Service
from tests.cluster.head_of_others import wait_for

_NODE_ID = ("--node-id", "--node_id")


@contextmanager
def joined_node(service: Service, log: Path, *options: str) -> Iterator[psutil.Process]:
    """Join a node with one processor, and end it, whatever is left of it."""
    command = [sys.executable, "-m", "raytasks", "worker", f"--address={service.ray_address}"]
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [*command, "--num-cpus=1", *options],
            stdout=output,
            stderr=output,
            env=service.environment,
        )
    try:
        wait_for(log, "works for", worker)
        yield psutil.Process(worker.pid)
    finally:
        if worker.poll() is None:
            worker.send_signal(signal.SIGINT)
        worker.wait(60)


def family(process: psutil.Process) -> list[psutil.Process]:
    """Return a process with all that it has started."""
    return [process, *process.children(recursive=True)]


def node_id_of(process: psutil.Process) -> str | None:
    """Return Ray's id of the node whose process this is, or is below of; None if it is gone."""
    with contextlib.suppress(psutil.Error):
        return next(filter(None, map(_node_id, [*process.parents(), *family(process)])), None)
    return None


def _node_id(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.Error):
        if process.name() == "raylet":
            pairs = (word.partition("=") for word in process.cmdline())
            return next((id_ for name, _, id_ in pairs if name in _NODE_ID), None)
    return None


def drain(service: Service, node_id: str, seconds: int) -> None:
    """Have Ray drain a node, which is to be gone after so many seconds, as for an autoscaler."""
    done = subprocess.run(  # noqa: PLW1510 - the exit code is looked at below
        [
            sys.executable, "-m", "ray.scripts.scripts", "drain-node",
            f"--address={service.ray_address}", f"--node-id={node_id}",
            "--reason=DRAIN_NODE_REASON_PREEMPTION", "--reason-message=a test",
            f"--deadline-remaining-seconds={seconds}",
        ],
        env=service.environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
