"""The keeper of a replica's own listener: it opens it, says why it is not open, and ends it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp

from raytasks.api.listening.listener import Listener
from raytasks.api.listening.shared_port import PortTaken, SharedPort
from raytasks.api.request_bounds import max_requests
from raytasks.settings import Settings
from raytasks.tracker.work_health import HealthReason, health_reason

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
"""How often a replica tries to get the port, in seconds."""

STOP_SECONDS = 10.0
"""How long open requests may take when the replica ends, in seconds."""

LOOK_SECONDS = 0.5
"""How often a replica looks whether it ends, in seconds."""


class ReplicaListener:
    """Keeps a listener at `LISTEN_HOST` and `LISTEN_PORT` while the replica lives.

    Without the port, the service works through Serve's ingress alone. The log and `/health` say so,
    and it is tried again. `service` is as for `SharedPort`. `ends` tells whether the replica ends.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, service: str, ends: Callable[[], bool]
    ) -> None:
        self._app = app
        self._settings = settings
        self._service = service
        self._ends = ends
        self._running: asyncio.Task[None] | None = None
        self._ending = asyncio.Event()
        self._error: str | None = None
        self._listener: Listener | None = None

    def begin(self) -> None:
        """Listen from now on, as soon as the port can be had."""
        self._running = asyncio.ensure_future(self._run())

    async def end(self) -> None:
        """Stop in order, if `ends` has not brought that about; return when it is done."""
        self._ending.set()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)

    def reasons(self) -> list[HealthReason]:
        """Return the reason for `/health` why this replica does not listen, if that is so."""
        if self._error is None:
            return []
        return [
            health_reason(
                "not_listening",
                f"a replica of the API does not listen on its own port: {self._error}",
                "end what has the port, or set another RAYTASKS_LISTEN_PORT; HTTP works meanwhile "
                "through Serve",
            )
        ]

    async def _run(self) -> None:
        retry_at = 0.0
        while not (self._ending.is_set() or self._ends()):
            if self._listener is None and time.monotonic() >= retry_at:
                await self._open()
                retry_at = time.monotonic() + RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):  # nothing signals what `ends` tells
                    await self._ending.wait()
        if self._listener is not None:
            await self._listener.stop(STOP_SECONDS)

    async def _open(self) -> None:
        host, number = self._settings.listen_host, self._settings.listen_port
        assert number is not None
        try:
            port = await asyncio.to_thread(SharedPort, host, number, self._service)
            listener = listener_of(self._app, port, self._settings)
            await listener.start()
        except (PortTaken, OSError) as error:
            if str(error) != self._error:
                log.warning("no listener of the replica's own: %s", error)
            self._error = str(error)
            return
        self._error, self._listener = None, listener
        log.info("the replica listens on %s:%d", host, number)


def listener_of(app: ASGIApp, port: SharedPort, settings: Settings, **options: Any) -> Listener:
    """Return a listener with the bounds of the settings."""
    return Listener(
        app,
        port,
        max_requests=max_requests(settings.max_waiting_clients),
        head_seconds=settings.body_seconds,
        **options,
    )
