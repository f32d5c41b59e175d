"""Answers that a replica gives again for a moment: many open pages cost as much as one."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

MAX_KEPT = 1000
"""Maximum number of answers that are kept; the oldest go."""

Answer = TypeVar("Answer")


class KeptAnswers(Generic[Answer]):
    """Answers by what was asked for, each kept for some `seconds` since it was begun.

    Who asks for the same while it is being made waits for it. An error is not kept. The `clock`
    returns seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[Hashable, tuple[float, asyncio.Future[Answer]]] = {}

    async def get(self, asked: Hashable, make: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the answer that is kept or being made; else make one. Raises its errors."""
        now = self._clock()
        at, kept = self._kept.get(asked, (0.0, None))
        if kept is None or (kept.done() and not 0 <= now - at < self._seconds):
            kept = self._begin(asked, make, now)
        return await asyncio.shield(kept)

    def _begin(
        self, asked: Hashable, make: Callable[[], Awaitable[Answer]], now: float
    ) -> "asyncio.Future[Answer]":
        self._kept.pop(asked, None)
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        making = asyncio.ensure_future(make())
        self._kept[asked] = now, making
        making.add_done_callback(lambda done: self._drop_failed(asked, done))
        return making

    def _drop_failed(self, asked: Hashable, done: "asyncio.Future[Answer]") -> None:
        failed = done.cancelled() or done.exception() is not None
        if failed and self._kept.get(asked, (0.0, None))[1] is done:
            del self._kept[asked]
