"""The kills of `raytasks demo --break`: which processes are ended by SIGKILL, and when all is back.

Only processes below one `raytasks up` are ended, so nothing else on the machine is touched.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from raytasks.client import AsyncClient
from raytasks.model.tasks import RaytasksError

BACK_SECONDS = 60.0
"""How long a kill's recovery is waited for, in seconds."""

_FIND_SECONDS = 20.0
_LOOK_SECONDS = 0.1
_ANSWER_SECONDS = 2.0
_TRACKER = "ray::TrackerActor"
_API = ("ray::ServeReplica:raytasks:", "haproxy", "ray::ProxyActor")
"""The replicas of the API, and the proxy before them: HAProxy, or Ray Serve's own."""


@dataclass(frozen=True)
class Kill:
    """A kill, and after how many seconds the work of what was killed went on.

    The seconds are None where that took longer than `BACK_SECONDS`, or where `pids` is empty:
    no such process was found.
    """

    what: str
    pids: tuple[int, ...]
    back_seconds: float | None
    back: str

    @property
    def line(self) -> str:
        """One line that says what happened."""
        pids = ", ".join(map(str, self.pids))
        if not self.pids:
            return f"{self.what}: no such process was found"
        named = f"{self.what}, {'pid' if len(self.pids) == 1 else 'pids'} {pids}"
        if self.back_seconds is None:
            return f"{named}: not back after {BACK_SECONDS:g} s"
        return f"{named}: {self.back} after {self.back_seconds:.1f} s"


class Killer:
    """Kills processes of the service whose `raytasks up` has this process id."""

    def __init__(self, client: AsyncClient, up_pid: int) -> None:
        self._client = client
        self._up_pid = up_pid

    async def runner(self) -> Kill:
        """Kill a runner while it runs a task, and wait for a new one."""
        known: set[int | None] = set()
        victim: list[psutil.Process] = []

        async def busy() -> bool:
            runners = await self._client.runners()
            known.update(runner["pid"] for runner in runners)
            pids = {
                runner["pid"]
                for runner in runners
                if any(attempt["begun"] for attempt in runner["running"])
            }
            victim[:] = [item for item in await self._family() if item.pid in pids][:1]
            return bool(victim)

        async def replaced() -> bool:
            runners = await self._client.runners()
            return any(item["pid"] not in known and item["state"] != "starting" for item in runners)

        await _until(busy, _FIND_SECONDS)
        return await self._kill("the runner", victim, "a new one was there", replaced)

    async def tracker(self) -> Kill:
        """Kill the tracker, and wait until its successor commits."""
        victims = await self._named(_TRACKER)
        dead = {process.pid for process in victims}

        async def succeeded() -> bool:
            present = {process.pid for process in await self._named(_TRACKER)}
            return bool(present - dead) and await self._ready()

        return await self._kill("the tracker", victims, "its successor committed", succeeded)

    async def api(self) -> Kill:
        """Kill all of the API, the proxy as well, and wait until it takes tasks."""
        return await self._kill("the API", await self._named(*_API), "it took tasks", self._ready)

    async def _kill(
        self,
        what: str,
        victims: list[psutil.Process],
        back: str,
        is_back: Callable[[], Awaitable[bool]],
    ) -> Kill:
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        pids = tuple(process.pid for process in victims)
        return Kill(what, pids, await _until(is_back, BACK_SECONDS) if pids else None, back)

    async def _named(self, *names: str) -> list[psutil.Process]:
        found = []
        for process in await self._family():
            with suppress(psutil.Error):
                program = (process.cmdline() or [""])[0]
                if Path(program).name.startswith(names):
                    found.append(process)
        return found

    async def _family(self) -> list[psutil.Process]:
        return await asyncio.to_thread(psutil.Process(self._up_pid).children, recursive=True)

    async def _ready(self) -> bool:
        """Return whether a submission would be committed now; asked over a new connection."""
        async with httpx.AsyncClient(timeout=_ANSWER_SECONDS, trust_env=False) as http:
            return (await http.get(f"{self._client.url}/readyz")).is_success


async def _until(reached: Callable[[], Awaitable[bool]], seconds: float) -> float | None:
    """Look until something is reached; return how long that took, or None after `seconds`."""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        with suppress(httpx.RequestError, RaytasksError):
            if await reached():
                return time.monotonic() - began
        await asyncio.sleep(_LOOK_SECONDS)
    assert passed >= seconds
    return None
