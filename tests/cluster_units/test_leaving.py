"""A machine's way out of the cluster: what Ray is asked, and how long it is waited for."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from raytasks.cluster import leaving
from raytasks.cluster.processes import ClusterError, RayProcess

# The keeper ends with its raylet, with its code.
KEEPER = '"{raylet}" --node-id=abc --gcs-address=127.0.0.1:1 & wait $!'


@pytest.fixture
def ray_process(tmp_path: Path) -> Iterator[RayProcess]:
    """A keeper with a raylet, which scripts play. The raylet ends with 0 once `go` is there."""
    raylet, go = tmp_path / "raylet", tmp_path / "go"
    raylet.write_text(f"#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.05; done\n")
    raylet.chmod(0o755)
    process = subprocess.Popen(["/bin/sh", "-c", KEEPER.format(raylet=raylet)])
    played = RayProcess(process, "127.0.0.1:1", tmp_path / "log")
    while not list(leaving._nodes(psutil.Process(process.pid).children(recursive=True))):
        assert process.poll() is None
    yield played
    go.touch()
    process.wait(10)


Answer = Callable[..., tuple[bool, str]]


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], None]:
    """Return a function that sets how the control store answers to a drain."""

    def use(answer: Answer) -> None:
        class Client:
            def __init__(self, address: str) -> None:
                assert address == "127.0.0.1:1"

            drain_node = staticmethod(answer)

        raylet: Any = ray._raylet
        monkeypatch.setattr(raylet, "GcsClient", Client)

    return use


def test_it_leaves_as_soon_as_nothing_runs(
    ray_process: RayProcess, answering: Callable[[Answer], None], tmp_path: Path
) -> None:
    asked = []

    def drain(node_id: str, reason: int, message: str, deadline: int) -> tuple[bool, str]:
        asked.append((node_id, deadline / 1000 - time.time()))
        (tmp_path / "go").touch()
        return True, ""

    answering(drain)
    assert leaving.leave(ray_process, 60) == "nothing runs here any more"
    [(node_id, seconds)] = asked
    assert node_id == "abc"
    assert 59 < seconds <= 60.001
    assert leaving.has_left(ray_process)


def test_it_does_not_wait_longer_than_it_may(
    ray_process: RayProcess, answering: Callable[[Answer], None]
) -> None:
    answering(lambda *_: (True, ""))
    assert leaving.leave(ray_process, 0.2) == "the time is over: what still runs is given back"
    assert not leaving.has_left(ray_process)


def test_it_says_why_it_cannot_leave_in_order(
    ray_process: RayProcess, answering: Callable[[Answer], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> tuple[bool, str]:
        raise ConnectionError("no control store")

    answering(lambda *_: (False, "the node is dead"))
    assert "(the node is dead): what runs is lost" in leaving.leave(ray_process, 60)
    answering(failing)
    assert "(no control store): what runs is lost" in leaving.leave(ray_process, 60)
    gate = threading.Event()
    monkeypatch.setattr(leaving, "_ANSWER_SECONDS", 0.1)
    answering(lambda *_: (gate.wait(10), ""))
    assert "(the head does not answer): what runs is lost" in leaving.leave(ray_process, 60)
    gate.set()


def test_a_raylet_that_is_gone_is_not_asked_for(
    ray_process: RayProcess, answering: Callable[[Answer], None], tmp_path: Path
) -> None:
    (tmp_path / "go").touch()
    ray_process.process.wait(10)
    assert "(its raylet is gone)" in leaving.leave(ray_process, 60)


class TestByNode:
    """The way out of a node that others have started, found among all processes here."""

    def test_it_leaves_by_its_own_address(
        self, ray_process: RayProcess, answering: Callable[[Answer], None], tmp_path: Path
    ) -> None:
        asked = []

        def drain(node_id: str, reason: int, message: str, deadline: int) -> tuple[bool, str]:
            asked.append((node_id, message))
            (tmp_path / "go").touch()
            return True, ""

        answering(drain)
        assert leaving.leave_by_node("ab", 60) == "nothing runs here any more"
        assert asked == [("abc", "`raytasks leave` was called on its machine")]

    def test_it_says_why_it_cannot(
        self, ray_process: RayProcess, answering: Callable[[Answer], None]
    ) -> None:
        answering(lambda *_: (False, "the node is dead"))
        with pytest.raises(leaving.CannotLeave, match=r"\(the node is dead\): what runs is lost"):
            leaving.leave_by_node("abc", 60)

    def test_it_wants_exactly_one(
        self, ray_process: RayProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(ClusterError, match=r"begins with other must run .* there are 0 .*abc"):
            leaving.leave_by_node("other", 60)
        [node] = leaving._nodes(psutil.Process(ray_process.process.pid).children(recursive=True))
        twice = [node.raylet, node.raylet]
        monkeypatch.setattr(psutil, "process_iter", lambda: twice)
        with pytest.raises(ClusterError, match=r"there are 2 .*name its --node-id"):
            leaving.leave_by_node(None, 60)

    def test_what_a_raylet_has_just_forked_is_no_node(self, ray_process: RayProcess) -> None:
        class JustForked(psutil.Process):
            """The raylet's copy, before it becomes another program."""

            def ppid(self) -> int:
                return raylet.pid

        below = psutil.Process(ray_process.process.pid).children(recursive=True)
        [raylet] = [node.raylet for node in leaving._nodes(below)]
        fork = JustForked(raylet.pid)
        assert [node.raylet for node in leaving._nodes([fork, raylet])] == [raylet]
