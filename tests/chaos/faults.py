"""The faults: finds the processes of the service, strikes them, and measures the recovery."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import psutil

from tests.chaos.client import Clients
from tests.chaos.driver import Driver
from tests.chaos.effects import EffectsReader
from tests.chaos.evidence import Fault
from tests.chaos.kinds import Place
from tests.chaos.plan import FaultKind
from tests.chaos.service import LEASE_SECONDS, ChaosService
from tests.postgres_server import PostgresServer

RECOVERY_SECONDS = 60.0
FIND_SECONDS = 20.0
AWAY_SECONDS = 2.0
"""How long PostgreSQL is away."""

_LOOK_SECONDS = 0.1
_NAMES = {
    FaultKind.KILL_TRACKER: "ray::TrackerActor",
    FaultKind.FREEZE_TRACKER: "ray::TrackerActor",
    FaultKind.KILL_TASK_RUNNER: "ray::TaskRunner",
    FaultKind.KILL_API_REPLICA: "ray::ServeReplica:raytasks:api",
}
_FREEZES = {
    FaultKind.FREEZE_WARM_RUNNER: 1.5 * LEASE_SECONDS,
    FaultKind.FREEZE_TRACKER: 20.0,  # its watchdog ends it before
}
_BAITS = {
    FaultKind.KILL_CLASS_RUNNER: (Place.CLASS, 1.0),
    FaultKind.KILL_REMOTE_WORKER: (Place.REMOTE, 1.0),
    # It still sleeps in its next attempt when the frozen one thaws, and tells its outcome.
    FaultKind.FREEZE_WARM_RUNNER: (Place.FUNCTION, LEASE_SECONDS),
}
"""The task that runs in the process that is struck: its place, and its length in seconds."""

_PROBED = {
    FaultKind.KILL_CLASS_RUNNER: Place.CLASS,
    FaultKind.KILL_TASK_RUNNER: Place.REMOTE,
    FaultKind.KILL_REMOTE_WORKER: Place.REMOTE,
}


class Faults:
    """Strikes one service. `done` is what was done, in order."""

    def __init__(
        self,
        service: ChaosService,
        clients: Clients,
        driver: Driver,
        postgres: PostgresServer | None,
    ) -> None:
        self._service = service
        self._clients = clients
        self._driver = driver
        self._postgres = postgres
        self._effects = EffectsReader(service.effects_path)
        self.done: list[Fault] = []

    async def strike(self, kind: FaultKind) -> None:
        """Do one fault, and wait until the service has recovered from it."""
        if kind is FaultKind.KILL_SERVICE:
            await self._restart()
        elif kind is FaultKind.STOP_POSTGRESQL:
            await self._with_probe(kind, frozenset(), self._postgres_away())
        else:
            victims = await self._find(kind)
            struck = frozenset(process.pid for process in victims)
            if kind is FaultKind.KILL_TASK_RUNNER:  # its remote tasks die with it
                struck |= {process.pid for process in self._remote_workers()}
            if victims:
                await self._with_probe(kind, struck, _struck(kind, victims))
            else:
                self.done.append(Fault(f"{kind} (no such process)", time.time()))

    async def start_driver(self) -> None:
        """Start the driver that belongs to the service that runs now."""
        running = self._service.running
        await self._driver.start(running.ray_address, running.environment)

    async def _find(self, kind: FaultKind) -> list[psutil.Process]:
        """Return the processes that such a fault strikes; look until they are there."""
        if kind in _BAITS:
            return await self._baited(*_BAITS[kind])
        deadline = time.monotonic() + FIND_SECONDS
        while time.monotonic() < deadline:
            found = await asyncio.to_thread(self._victims, kind)
            if found:
                return found
            await asyncio.sleep(_LOOK_SECONDS)
        return []

    async def _baited(self, place: Place, seconds: float) -> list[psutil.Process]:
        """Return the process that runs an attempt of a task that we submit for that."""
        deadline = time.monotonic() + FIND_SECONDS
        task_id = await self._clients.bait(place, seconds, deadline)
        while time.monotonic() < deadline:
            for effect in reversed(self._effects.read()):
                if effect.task_id == task_id:
                    return [psutil.Process(effect.pid)]
            await asyncio.sleep(_LOOK_SECONDS)
        return []

    def _victims(self, kind: FaultKind) -> list[psutil.Process]:
        """Return the processes that such a fault strikes; none if there is none just now."""
        match kind:
            case FaultKind.KILL_WARM_RUNNER:
                return self._warm_runners()[:1]
            case FaultKind.KILL_HAPROXY:
                return [item for item in self._service.family() if item.name() == "haproxy"]
        return self._service.named(_NAMES[kind])

    def _warm_runners(self) -> list[psutil.Process]:
        """Return the runners of the shared pool, the one first that ran a task the latest."""
        there = {process.pid: process for process in self._service.named("ray::WarmRunner")}
        pids = (item.pid for item in reversed(self._effects.read()) if item.pid in there)
        shared = {item.pid for item in self._effects.effects if item.task_type == Place.FUNCTION}
        return [there[pid] for pid in dict.fromkeys(pids) if pid in shared]

    def _remote_workers(self) -> list[psutil.Process]:
        """Return the processes in which a remote task runs now: they are named after it."""
        return self._service.named("ray::chaos_")

    async def _with_probe(
        self, kind: FaultKind, pids: frozenset[int], act: Coroutine[Any, Any, None]
    ) -> None:
        """Do the fault; probe the service from the moment that it has struck."""
        at, began = time.time(), time.monotonic()
        acting = asyncio.create_task(_timed(act))
        await asyncio.sleep(0)
        place = _PROBED.get(kind, Place.FUNCTION)
        recovered = await self._clients.probe(place, began + RECOVERY_SECONDS)
        recovered_after = time.monotonic() - began if recovered else None
        self.done.append(Fault(kind, at, await acting, pids, recovered_after))

    async def _postgres_away(self) -> None:
        assert self._postgres is not None
        await asyncio.to_thread(self._postgres.stop)
        await asyncio.sleep(AWAY_SECONDS)
        await asyncio.to_thread(self._postgres.start)

    async def _restart(self) -> None:
        at, began = time.time(), time.monotonic()
        pids = await asyncio.to_thread(self._service.kill)
        await self._driver.stop()
        await asyncio.to_thread(self._service.start)
        await self.start_driver()
        lasted = time.monotonic() - began
        recovered = await self._clients.probe(Place.FUNCTION, time.monotonic() + RECOVERY_SECONDS)
        recovered_after = time.monotonic() - began if recovered else None
        self.done.append(Fault(FaultKind.KILL_SERVICE, at, lasted, pids, recovered_after))


async def _timed(act: Coroutine[Any, Any, None]) -> float:
    began = time.monotonic()
    await act
    return time.monotonic() - began


async def _struck(kind: FaultKind, victims: list[psutil.Process]) -> None:
    """Kill processes, or freeze them for a while, or until somebody ends them."""
    seconds = _FREEZES.get(kind)
    if seconds is None:
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return
    with _each_suspended(victims):
        await asyncio.to_thread(psutil.wait_procs, victims, timeout=seconds)


@contextlib.contextmanager
def _each_suspended(victims: list[psutil.Process]) -> Iterator[None]:
    try:
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
