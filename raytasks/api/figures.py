"""The figures of a namespace: exact counts, and windows that a replica keeps for a moment.

Pages in browsers ask for them often. So the counts come from the database, and the tracker is asked
for the windows at most once a second for each namespace.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from raytasks.api.kept_answers import KeptAnswers
from raytasks.protocol.queries import Reader, Statistics, TaskCounts

KEPT_SECONDS = 1.0
"""How long windows are kept, in seconds."""


class Figures:
    """Reads figures. `clock` returns seconds since the epoch."""

    def __init__(self, reader: Reader, clock: Callable[[], float]) -> None:
        self._reader = reader
        self._kept: KeptAnswers[dict[str, Any]] = KeptAnswers(KEPT_SECONDS, clock)

    async def of(self, namespace: str) -> dict[str, Any]:
        """Return the figures as `/stats` shows them. Raises `StoreUnavailable`."""
        windows, counts = await asyncio.gather(
            self._kept.get(namespace, lambda: self._reader.read(Statistics(namespace))),
            self._reader.read(TaskCounts(namespace)),
        )
        return {"namespace": namespace, "counts": counts, **windows}
