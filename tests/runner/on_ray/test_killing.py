"""The end of an actor's process: by Ray, and by a signal from its node where Ray's does nothing."""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray

from raytasks.runner.on_ray import killing
from raytasks.runner.on_ray.ray_internals import ActorProcess

TITLE = "ray::FrozenActor.watch"


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that bears the title of an actor."""
    with subprocess.Popen([TITLE, "60"], executable="/usr/bin/sleep") as started:
        while psutil.Process(started.pid).cmdline()[:1] != [TITLE]:  # it has not begun yet
            time.sleep(0.001)
        yield started
        started.kill()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The processes that a task on their node was to end; nothing waits."""
    found: list[int] = []

    class Task:
        def options(self, **_: Any) -> "Task":
            return self

        async def remote(self, pid: int, class_name: str) -> bool:
            found.append(pid)
            return killing.end_process(pid, class_name)

    monkeypatch.setattr(killing, "_END", Task())
    monkeypatch.setattr(killing, "_LOOKS_SECONDS", (0.0, 0.0))
    return found


def actor_in(
    monkeypatch: pytest.MonkeyPatch, process: "subprocess.Popen[bytes]", *, ray_kills: bool
) -> Any:
    def ray_kill(_: object, *, no_restart: bool) -> None:
        if ray_kills:
            process.kill()

    known = ActorProcess("FrozenActor", process.pid, b"n" * 28, b"w" * 28)
    monkeypatch.setattr(ray, "kill", ray_kill)
    monkeypatch.setattr(killing, "process_of", lambda actor_id: known)
    monkeypatch.setattr(
        killing, "has_ended", lambda worker_id: ray_kills and process.wait(10) is not None
    )
    return SimpleNamespace(_actor_id="id")


async def test_what_ray_has_ended_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, process: "subprocess.Popen[bytes]", sent: list[int]
) -> None:
    await killing.kill(actor_in(monkeypatch, process, ray_kills=True), no_restart=False)
    assert not sent


@pytest.mark.parametrize("no_restart", [True, False])
async def test_what_ray_does_not_end_gets_a_signal_from_its_node(
    monkeypatch: pytest.MonkeyPatch,
    process: "subprocess.Popen[bytes]",
    sent: list[int],
    no_restart: bool,
) -> None:
    await killing.kill(actor_in(monkeypatch, process, ray_kills=False), no_restart=no_restart)
    assert sent == [process.pid]
    assert await asyncio.to_thread(process.wait, 10) < 0


def test_only_an_actor_of_the_class_is_ended(process: "subprocess.Popen[bytes]") -> None:
    assert not killing.end_process(process.pid, "Frozen.Actor")
    assert process.poll() is None
    assert killing.end_process(process.pid, "FrozenActor")
    process.wait(10)
    assert not killing.end_process(process.pid, "FrozenActor")
