"""The tracker's calls to its store: each ends in time, and outages are waited out."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from raytasks.model.tasks import StoreUnavailable
from raytasks.observe.log_record import with_fields
from raytasks.store.store import Store
from raytasks.store.store_calls import (
    HANGS,
    READ_SECONDS,
    WRITE_SECONDS,
    Executors,
    StoreCalls,
    patiently,
    threads,
)

log = logging.getLogger(__name__)

Result = TypeVar("Result")

AWAY = "the database is away; try again soon"
SUPERSEDED = "another tracker has taken over"

SLOW_SECONDS = 3.0
"""Seconds that a write may wait for the database before `/health` reports it."""

_OUTAGE_DELAYS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_DOUBT_SECONDS = 10.0  # after an outage: for this long, a cheap write does not prove its end
_LOG_SECONDS = 60.0


class TakenOver(StoreUnavailable):
    """Another tracker has taken over the database. Nothing was stored by this one."""

    in_doubt = False

    def __init__(self, text: str = SUPERSEDED) -> None:
        super().__init__(text)


class StoreAccess:
    """Calls to the store from the tracker's event loop; one at a time may write.

    While the database cannot be used, `refuse` is called repeatedly: callers that wait for an
    answer get this error. The attribute `error` says what is wrong with the database, or is None.
    Only writes set and clear it: a database that answers reads may refuse to write.
    """

    def __init__(
        self,
        store: Store,
        refuse: Callable[[StoreUnavailable], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        executors: Executors = threads,
    ) -> None:
        self.store = store
        self._monotonic = monotonic
        self.error: str | None = None
        self.committed_at = monotonic()
        self._refuse = refuse
        self._outages = 0
        self._failed_at = 0.0
        self._away_since = 0.0
        self._logged: tuple[str, float] = ("", 0.0)
        self._writes: dict[object, float] = {}  # start times of the writes that wait, oldest first
        stuck = store.give_up_connections
        self._writer = StoreCalls(1, "store-writer", executors=executors, on_stuck=stuck)
        self._readers = StoreCalls(2, "store-reader", executors=executors, on_stuck=stuck)

    async def read(
        self, call: Callable[[], Result], seconds: float | None = READ_SECONDS
    ) -> Result:
        """Make a reading call. Raises `StoreUnavailable`, at the latest after `seconds`."""
        return await self._readers.make(patiently(call), seconds)

    async def write(
        self, call: Callable[[], Result], seconds: float | None = WRITE_SECONDS
    ) -> Result:
        """Make a writing call, after those before it. Raises `StoreUnavailable`, as `read` does.

        A write that was given up may have been committed: see `StoreUnavailable.in_doubt`.
        """
        ticket = object()
        self._writes[ticket] = self._monotonic()
        try:
            return await self._writer.make(call, seconds)
        finally:
            del self._writes[ticket]

    async def renew(self, epoch: int, now: float) -> None:
        """Make the cheapest write. See `Store.renew`. Raises `StoreUnavailable`, `Superseded`."""
        await self.write(patiently(lambda: self.store.renew(epoch, now)))

    async def insist(
        self, call: Callable[[], Result], seconds: float | None = WRITE_SECONDS
    ) -> Result:
        """Make a writing call, and repeat it until the database is available."""
        while True:
            try:
                return await self.write(call, seconds)
            except StoreUnavailable as error:
                await self.sit_out(error)

    async def sit_out(self, error: StoreUnavailable) -> None:
        """Record an outage of the database, and wait a little."""
        self._record_outage(str(error))
        self._refuse(StoreUnavailable(AWAY))
        await self.pause()

    async def pause(self) -> None:
        """Wait before the next try: longer each time, until a write has succeeded."""
        delay = _OUTAGE_DELAYS[min(self._outages, len(_OUTAGE_DELAYS) - 1)]
        self._outages += 1
        await asyncio.sleep(delay)

    def recovered(self, *, proven: bool = True) -> None:
        """Record that a write was committed, so the database is available.

        A write that is not `proven` needed no space: it may succeed where others fail.
        """
        self.note_commit()
        now = self._monotonic()
        if self.error is None and not self._outages:
            return
        if proven or now - self._failed_at > _DOUBT_SECONDS:
            if self._logged[0]:
                log.warning(
                    "the database is there again, after %.1f seconds",
                    now - self._away_since,
                    extra=with_fields(seconds=round(now - self._away_since, 3)),
                )
            self.error, self._outages = None, 0
            self._logged = ("", 0.0)

    def note_commit(self) -> None:
        """Record a commit that does not end an outage: what failed before is not stored yet."""
        self.committed_at = self._monotonic()

    def trouble(self) -> str | None:
        """Return what is wrong with the database, judged by writes; None if nothing is."""
        now = self._monotonic()
        waited = now - next(iter(self._writes.values()), now)
        if waited < SLOW_SECONDS:
            return self.error
        return f"{self.error or HANGS}; a write has waited for {waited:.0f} s"

    async def take_over(
        self,
        begin: Callable[[], int],
        stand_by: Callable[[], Awaitable[None]] | None = None,
    ) -> int:
        """Migrate the database, end all earlier epochs by `begin`, and return the new one.

        Before that it waits for `stand_by`, if given: two clusters must not take the database from
        each other for ever. See `raytasks.tracker.outpost`.
        """
        await self.insist(self.store.upgrade, None)  # a migration may take long
        if stand_by is not None:
            await stand_by()
        epoch = await self.insist(begin)
        self.recovered()
        return epoch

    async def close(self) -> None:
        """Finish the calls that run, end the threads, and close the store."""
        for calls in (self._writer, self._readers):
            await calls.close()
        self.store.close()

    def stand_by(self, error: StoreUnavailable) -> None:
        """Refuse all commands with this error: another tracker has the database.

        If it has been taken over, there is nothing wrong with the database itself.
        """
        self.error = None if isinstance(error, TakenOver) else str(error)
        self._refuse(error)

    def _record_outage(self, text: str) -> None:
        now = self._monotonic()
        known, at = self._logged
        if self.error is None:
            self._away_since = now
        if text != known or now - at > _LOG_SECONDS:
            log.warning("the database is away: %s", text)
            self._logged = (text, now)
        self.error = text
        self._failed_at = now
