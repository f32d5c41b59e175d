"""The tracker's way to its store: threads for calls that block, and patience with outages."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TypeVar

from raytasks.models import StoreUnavailable
from raytasks.store.store import Store

log = logging.getLogger(__name__)

Result = TypeVar("Result")

AWAY = "the database is away; try again soon"
STANDBY = "another tracker has taken over the database; this one waits for its end"

_OUTAGE_DELAYS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
_STANDBY_SECONDS = 0.5


Executors = Callable[[int, str], Executor]
"""Makes what calls of the store run in: at most so many at a time, under a name."""


def threads(number: int, name: str) -> Executor:
    """Return threads of this process."""
    return ThreadPoolExecutor(number, thread_name_prefix=name)


class StoreAccess:
    """Calls to the store from the tracker's event loop; one at a time may write.

    `refuse` is called while the database cannot be used, again and again: whoever waits for an
    answer is to get this error. `error` says what is wrong with the database, or is None.
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
        self._refuse = refuse
        self._outages = 0
        self._writer = executors(1, "store-writer")
        self._readers = executors(2, "store-reader")

    async def read(self, call: Callable[[], Result]) -> Result:
        """Make a reading call. Raises `StoreUnavailable`."""
        return await self._in(self._readers, call)

    async def write(self, call: Callable[[], Result]) -> Result:
        """Make a writing call, after those before it. Raises `StoreUnavailable`."""
        return await self._in(self._writer, call)

    async def insist(self, call: Callable[[], Result]) -> Result:
        """Make a writing call again and again until the database is there."""
        while True:
            try:
                result = await self.write(call)
            except StoreUnavailable as error:
                await self.sit_out(error)
            else:
                self.recovered()
                return result

    async def sit_out(self, error: StoreUnavailable) -> None:
        """Note that the database is away, and wait a little."""
        log.warning("the database is away: %s", error)
        self.error = str(error)
        self._refuse(StoreUnavailable(AWAY))
        await self.pause()

    async def pause(self) -> None:
        """Wait before the next try: longer each time, until `recovered`."""
        delay = _OUTAGE_DELAYS[min(self._outages, len(_OUTAGE_DELAYS) - 1)]
        self._outages += 1
        await asyncio.sleep(delay)

    def recovered(self) -> None:
        """Note that the database is there."""
        self.error, self._outages = None, 0

    async def take_over(
        self, clock: Callable[[], float], owner: str, *, again: bool, lease_seconds: float
    ) -> int:
        """Migrate the database, end all earlier epochs, and return the new one.

        Whoever comes `again`, and finds that another owner has taken over meanwhile, waits until
        that one renews its epoch no more: else two clusters on one database would take it from
        each other without end.
        """
        await self.insist(self.store.upgrade)
        if again:
            await self._stand_by(owner, lease_seconds)
        return await self.insist(lambda: self.store.begin_epoch(clock(), owner))

    async def close(self) -> None:
        """End the threads after what they do, and close the store."""
        await self.read(lambda: None)
        for pool in (self._writer, self._readers):
            pool.shutdown(wait=True)
        self.store.close()

    async def _stand_by(self, owner: str, lease_seconds: float) -> None:
        known = None
        seen_at = self._monotonic()
        while True:
            present = await self.insist(self.store.epoch_owner)
            if present[0] == owner:
                return
            if present != known:
                known, seen_at = present, self._monotonic()
            if self._monotonic() - seen_at > lease_seconds:
                log.warning("the tracker that had taken over is gone; this one takes its place")
                return
            self.error = STANDBY
            self._refuse(StoreUnavailable(STANDBY))
            await asyncio.sleep(_STANDBY_SECONDS)

    async def _in(self, executor: Executor, call: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(executor, call)
