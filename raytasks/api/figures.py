"""The figures of a namespace: exact counts, and windows that a replica keeps for a moment.

Pages in browsers ask for them often. So the counts come from the database, and the tracker is asked
for the windows at most once a second for each namespace.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from raytasks.protocol.queries import Reader, Statistics, TaskCounts

KEPT_SECONDS = 1.0
"""How long windows are kept, in seconds."""

MAX_KEPT = 1000
"""The windows of how many namespaces are kept."""


class Figures:
    """Reads figures. `clock` returns seconds since the epoch."""

    def __init__(self, reader: Reader, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._clock = clock
        self._kept: dict[str, tuple[float, asyncio.Future[dict[str, Any]]]] = {}

    async def of(self, namespace: str) -> dict[str, Any]:
        """Return the figures as `/stats` shows them. Raises `StoreUnavailable`."""
        windows, counts = await asyncio.gather(
            asyncio.shield(self._windows(namespace)), self._reader.read(TaskCounts(namespace))
        )
        return {"namespace": namespace, "counts": counts, **windows}

    def _windows(self, namespace: str) -> "asyncio.Future[dict[str, Any]]":
        """Return the windows that are kept or being read; else begin to read them."""
        now = self._clock()
        at, kept = self._kept.get(namespace, (0.0, None))
        if kept is not None and (not kept.done() or 0 <= now - at < KEPT_SECONDS):
            return kept
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        reading = asyncio.ensure_future(self._reader.read(Statistics(namespace)))
        self._kept[namespace] = now, reading
        reading.add_done_callback(lambda done: self._drop_failed(namespace, done))
        return reading

    def _drop_failed(self, namespace: str, done: "asyncio.Future[dict[str, Any]]") -> None:
        failed = done.cancelled() or done.exception() is not None
        if failed and self._kept.get(namespace, (0.0, None))[1] is done:
            del self._kept[namespace]
