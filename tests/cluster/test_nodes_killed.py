"""A second node is killed or frozen: its attempts run again on another one."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import Service
from tests.cluster.processes import PATIENCE_SECONDS, begun, frozen, marks, wait_gone
from tests.cluster.recovery import recovering

KINDS = ("scripted_elsewhere", "scripted_class_elsewhere")


@contextmanager
def node(service: Service, log: Path) -> Iterator[psutil.Process]:
    """Join a node that can run what only runs elsewhere, and end it, whatever is left of it."""
    command = [sys.executable, "-m", "raytasks", "worker", f"--address={service.ray_address}"]
    with log.open("wb") as output:
        worker = subprocess.Popen(
            [*command, "--num-cpus=1", "--resource=elsewhere=2"],
            stdout=output,
            stderr=output,
            env=service.environment,
        )
    process = psutil.Process(worker.pid)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while "works for" not in log.read_text():
        assert worker.poll() is None, log.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    try:
        yield process
    finally:
        if worker.poll() is None:
            worker.send_signal(signal.SIGINT)
        worker.wait(60)


def family(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


@contextmanager
def released(gate: Path) -> Iterator[None]:
    """Let the tasks end whatever happens: others are to use what they take."""
    try:
        yield
    finally:
        gate.touch()


@pytest.mark.parametrize("fault", ["killed", "frozen"])
def test_a_node_goes(service: Service, tmp_path: Path, fault: str) -> None:
    gate = tmp_path / "gate"
    files = {kind: tmp_path / kind for kind in KINDS}
    with released(gate), node(service, tmp_path / "first.log") as first:
        tasks = [
            service.submit(kind, {"step": "wait_file", "file": str(gate), "mark": str(mark)})
            for kind, mark in files.items()
        ]
        for mark in files.values():
            begun(mark)
        with node(service, tmp_path / "second.log"):
            victims = family(first)
            with recovering(f"a worker node {fault}, with another one there"):
                if fault == "killed":
                    for process in victims:
                        process.kill()
                    lost(files)
                else:
                    with frozen(*victims):
                        lost(files)
                gate.touch()
                ended = [service.wait(task) for task in tasks]
            for done in ended:
                outcomes = [attempt["outcome"] for attempt in done["attempts"]]
                assert (done["state"], outcomes) == ("COMPLETED", ["lost", "succeeded"])
                nodes = {attempt["node_id"] for attempt in done["attempts"][1:]}
                assert nodes != {done["attempts"][0]["node_id"]}
            wait_gone(*victims)  # the thawed node finds that it is dead


def lost(files: dict[str, Path]) -> None:
    """Wait until all attempts run again elsewhere."""
    for mark in files.values():
        begun(mark, attempts=2)
        assert [attempt for attempt, _ in marks(mark)] == [1, 2]
