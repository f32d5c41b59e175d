"""The kills of `raytasks demo --break`, on processes that only have the names of a service's."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest

from raytasks.cli import demo_kills
from raytasks.cli.demo_kills import Killer

NAMES = ("ray::TrackerActor", "ray::WarmRunner", "ray::ServeReplica:raytasks:api#1", "haproxy")


@contextmanager
def family(*names: str) -> Iterator[psutil.Process]:
    """Run a process with children of these names; it says when they are there."""
    children = "".join(f"(exec -a '{name}' sleep 60) & " for name in names)
    script = f"{children} echo there; read -r end; kill $(jobs -p)"
    with subprocess.Popen(
        ["bash", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        parent = psutil.Process(process.pid)
        while len(named(parent)) < len(names):  # each takes its name when it begins to sleep
            pass
        yield parent
        process.communicate(b"\n")


def named(parent: psutil.Process) -> dict[str, psutil.Process]:
    """Return its living children by name."""
    return {
        child.cmdline()[0]: child
        for child in parent.children()
        if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[0] in NAMES
    }


class Runners:
    """A client of a service with these runners."""

    def __init__(self, *pids: int) -> None:
        self.pids = list(pids)
        self.looks = 0

    async def runners(self) -> Any:
        """Return the first as idle, and the others as busy; a new one comes with the third look."""
        self.looks += 1
        pids = self.pids if self.looks < 3 else [*self.pids, 2**22 + 1]
        return [
            {"pid": pid, "state": "busy" if place else "idle", "running": [{"begun": True}] * place}
            for place, pid in enumerate(pids)
        ]


async def ready(_: Killer) -> bool:
    return True


async def test_only_what_is_below_the_service_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Killer, "_ready", ready)
    monkeypatch.setattr(demo_kills, "BACK_SECONDS", 0.2)
    with family(*NAMES) as ours, family(*NAMES) as others:
        tracker, runner, replica, proxy = (named(ours)[name] for name in NAMES)
        strange = named(others)["ray::WarmRunner"]
        client: Any = Runners(strange.pid, strange.pid, runner.pid)
        killer = Killer(client, ours.pid)

        kill = await killer.runner()
        assert kill.pids == (runner.pid,)
        assert kill.back_seconds is not None
        assert kill.line.startswith(f"the runner, pid {runner.pid}: a new one was there after 0.")

        kill = await killer.api()
        assert set(kill.pids) == {replica.pid, proxy.pid}
        assert kill.back_seconds is not None

        kill = await killer.tracker()  # no other process takes its place
        assert (kill.pids, kill.back_seconds) == ((tracker.pid,), None)
        assert kill.line == f"the tracker, pid {tracker.pid}: not back after 0.2 s"

        kill = await killer.tracker()
        assert (kill.pids, kill.back_seconds) == ((), None)
        assert kill.line == "the tracker: no such process was found"

        psutil.wait_procs([tracker, runner, replica, proxy], timeout=10)
        assert named(ours) == {}
        assert set(named(others)) == set(NAMES)
