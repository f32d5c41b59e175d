"""The oldest due time of each task type: how long its tasks have been waiting to be claimed."""

import asyncio

from raytasks.model.tasks import StoreUnavailable
from raytasks.store.lane_rows import LaneAsk
from raytasks.tracker.ticker import Ticker

KEPT_SECONDS = 5.0
"""Seconds for which what was read is used again."""

FIRST_TASKS = 200
"""Number of tasks looked at of each type, in the order of claims: it depends on priorities, too.
Of several lanes, those are looked at in which the best ranks wait."""

MAX_TASKS = 10_000
"""Maximum number of tasks looked at together. With many types, fewer are looked at of each."""

_READ_SECONDS = 2.0


class OldestDue:
    """The oldest due time by type, read from the database and kept for some seconds.

    The oldest among the first tasks of a type in the order of claims is found. That is the oldest
    of all if the type's tasks have the same priority. Else an older one of less priority may wait
    behind them, but by no more than the priorities' distance in seconds of rank.
    """

    def __init__(self, ticker: Ticker) -> None:
        self._ticker = ticker
        self._lock = asyncio.Lock()
        self._due: dict[str, float] = {}
        self._read_at: float | None = None

    async def due_times(self) -> dict[str, float]:
        """Return the due time of each type's oldest due task, in seconds since the epoch.

        A type without due tasks is not in it. It is at most `KEPT_SECONDS` old, or as old as the
        last reading while the database cannot be read.
        """
        async with self._lock:
            now = self._ticker.monotonic()
            if self._read_at is None or now - self._read_at >= KEPT_SECONDS:
                self._read_at = now
                await self._read()
        waiting = self._ticker.ledger.waiting_types()
        return {name: due_at for name, due_at in self._due.items() if name in waiting}

    async def seconds(self) -> dict[str, float]:
        """Return for how many seconds each type's oldest due task has been due. See `due_times`."""
        due = await self.due_times()
        now = self._ticker.clock()
        return {name: max(0.0, now - due_at) for name, due_at in due.items()}

    async def _read(self) -> None:
        asks = self._asks()
        try:
            self._due = await self._ticker.access.read(
                lambda: self._ticker.store.oldest_due(asks), _READ_SECONDS
            )
        except StoreUnavailable:
            return  # what is known is older, but not wrong by more than that

    def _asks(self) -> list[LaneAsk]:
        names = sorted(self._ticker.ledger.waiting_types())
        most = max(1, min(FIRST_TASKS, MAX_TASKS // max(1, len(names))))
        asks = []
        for name in names:
            best = self._ticker.ledger.lanes.best((name,), most)
            asks += [lane.ask(most // len(best)) for lane in best]
        return asks
