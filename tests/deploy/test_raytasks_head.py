"""`deploy/raytasks-head` with programs that stand in for Ray and the service: who ends whom, when.

A real start of it: `tests/cluster/test_deployment.py`.
"""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.deploy.schemas import DEPLOY

_SECONDS = 20.0

RUNS = """#!/bin/bash
trap 'echo "$0 TERM" >> {log}; exit 0' TERM
echo "$0 $*" >> {log}
while [ ! -e "$0.end" ]; do sleep 0.05; done
echo "$0 ends" >> {log}
exit 3
"""
RAY = """#!/bin/bash
[ "$1" = health-check ] && exec test -e {folder}/up
{runs}
"""


class Head:
    """The script, beside programs that write down what happens to them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.log.touch()
        runs = RUNS.replace("{log}", str(self.log))
        programs = {
            "raytasks": runs,
            "ray": RAY.replace("{folder}", str(folder)).replace("{runs}", runs.partition("\n")[2]),
        }
        for name, text in programs.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self.process = subprocess.Popen(
            [DEPLOY / "raytasks-head", "--host", "0.0.0.0"],
            env={
                "PATH": f"{folder}:{os.environ['PATH']}",
                "KUBERAY_GEN_RAY_START_CMD": "ray start --head --block",
            },
            stderr=subprocess.DEVNULL,
        )

    def lines(self) -> list[str]:
        """Return what has happened so far."""
        return self.log.read_text().replace(f"{self.folder}/", "").splitlines()

    def until(self, line: str) -> None:
        """Wait until something has happened."""
        deadline = time.monotonic() + _SECONDS
        while line not in self.lines():
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.02)

    def end(self, name: str) -> None:
        """Let a program end by itself."""
        (self.folder / f"{name}.end").touch()


@pytest.fixture
def head(tmp_path: Path) -> Head:
    head = Head(tmp_path)
    head.until("ray start --head --block")
    assert not any(line.startswith("raytasks") for line in head.lines())  # Ray does not answer yet
    return head


@pytest.fixture
def running(head: Head) -> Head:
    (head.folder / "up").touch()
    head.until("raytasks up --address 127.0.0.1:6379 --host 0.0.0.0")
    return head


def test_sigterm_ends_the_service_and_then_ray(running: Head) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(_SECONDS) == 0
    assert running.lines()[-2:] == ["raytasks TERM", "ray TERM"]


@pytest.mark.parametrize(("ended", "other"), [("raytasks", "ray"), ("ray", "raytasks")])
def test_when_one_ends_the_other_is_ended(running: Head, ended: str, other: str) -> None:
    running.end(ended)
    assert running.process.wait(_SECONDS) == 3
    assert f"{other} TERM" in running.lines()


def test_ray_that_never_answers(head: Head) -> None:
    head.end("ray")
    assert head.process.wait(_SECONDS) == 1
    assert not any(line.startswith("raytasks") for line in head.lines())


def test_sigterm_before_ray_answers(head: Head) -> None:
    head.process.send_signal(signal.SIGTERM)
    assert head.process.wait(_SECONDS) == 0
    assert head.lines()[-1] == "ray TERM"


def test_it_says_what_is_missing() -> None:
    done = subprocess.run(
        [DEPLOY / "raytasks-head"], env={}, check=False, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "KUBERAY_GEN_RAY_START_CMD" in done.stderr
