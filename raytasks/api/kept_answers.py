"""Answers that a replica gives again for a moment: many open pages cost as much as one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable

MAX_KEPT = 64
"""Maximum number of answers that are kept; the oldest go."""


class KeptAnswers:
    """Answers by what was asked for, each kept for some `seconds` since it was begun.

    Who asks for the same while it is being made waits for it. An error is not kept.
    """

    def __init__(self, seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._kept: dict[Hashable, tuple[float, asyncio.Future[bytes]]] = {}

    async def get(self, asked: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the answer to what was asked for. Raises what `make` raises."""
        now = self._monotonic()
        known = self._kept.get(asked)
        if known is None or now - known[0] >= self._seconds:
            self._kept.pop(asked, None)
            while len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            known = self._kept[asked] = now, asyncio.ensure_future(make())
        try:
            return await asyncio.shield(known[1])
        except BaseException:
            if known[1].done() and self._kept.get(asked) is known:
                del self._kept[asked]
            raise
