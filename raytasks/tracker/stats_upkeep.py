"""The upkeep of the statistics in the database: read at the start, made coarser, deleted.

It goes in small steps, so that neither the event loop nor a tick waits for it.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from raytasks.model.tasks import StoreUnavailable
from raytasks.store.stats_rows import MinuteRow, RowKey, fold, forget
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from raytasks.tracker.access import StoreAccess
from raytasks.tracker.statistics import KEPT_MINUTES, Stats
from raytasks.tracker.stats_restore import Restored, folded

if TYPE_CHECKING:
    from raytasks.tracker.ticker import Ticker

log = logging.getLogger(__name__)

READ_ROWS = 500
"""Number of rows that are read and decoded in one step when a tracker starts."""

FOLD_ROWS = 500
"""Number of rows that one step makes coarser."""

FINE_MINUTES = 60
"""Minutes for which each minute keeps its own row; after that a row covers ten minutes."""

BLOCK = 10

_AWAY_SECONDS = 1.0
_PAUSE_SECONDS = 0.05  # between two steps: ticks go first
_FIRST_SECONDS = 5.0  # a starting tracker has more urgent work
_LOOK_SECONDS = 60.0


class StatsUpkeep:
    """The restoring of a tracker's statistics, and then the folding and deleting of old rows.

    `epoch` returns the tracker's epoch, `clock` seconds since the epoch of time.
    """

    def __init__(
        self,
        store: Store,
        access: StoreAccess,
        stats: Stats,
        *,
        epoch: Callable[[], int],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._access = access
        self._stats = stats
        self._epoch = epoch
        self._clock = clock
        self._block: int | None = None  # the next ten minutes to be made coarser

    async def restore(self) -> None:
        """Read the statistics of earlier trackers, as soon as the database is available.

        Rows are read and decoded in the reader's thread. The event loop only adopts the result,
        some pairs at a time.
        """
        restored = Restored(self._clock())
        behind: RowKey | None = (restored.first_minute, "", "")
        while behind is not None:
            try:
                behind = await self._access.read(partial(self._read, restored, behind))
            except StoreUnavailable:
                await asyncio.sleep(_AWAY_SECONDS)
            else:
                await asyncio.sleep(0)
        for _ in self._stats.adopt(restored, self._clock()):
            await asyncio.sleep(0)

    async def run(self) -> None:
        """Make old rows coarser and delete the oldest, repeatedly, until the epoch ends."""
        await asyncio.sleep(_FIRST_SECONDS)
        while True:
            try:
                await self.tidy()
            except Superseded:
                return
            except StoreUnavailable as error:
                log.warning("the statistics have to wait: %s", error)
            except Exception:
                log.exception("the statistics could not be tidied; trying again")
            await asyncio.sleep(_LOOK_SECONDS)

    async def tidy(self) -> None:
        """Do all the upkeep that is due. Raises `Superseded`, `StoreUnavailable`."""
        this_minute = int(self._clock() // 60)
        oldest = this_minute - KEPT_MINUTES
        while await self._access.read(partial(self._has_before, oldest)):
            await self._access.write(partial(self._forget, oldest))
            await asyncio.sleep(_PAUSE_SECONDS)
        first = oldest - oldest % BLOCK
        until = min(this_minute - FINE_MINUTES, self._stats.oldest_unwritten)
        block = first if self._block is None else max(first, self._block)
        while block + BLOCK <= until:
            await self._fold_block(block)
            block += BLOCK
            self._block = block

    async def _fold_block(self, block: int) -> None:
        store, end = self._store, block + BLOCK
        if not await self._access.read(partial(store.has_fine_stats, block, end)):
            return
        pair = "", ""
        while True:
            rows = await self._access.read(
                partial(store.stats_by_pair, block, end, pair, FOLD_ROWS)
            )
            whole = _whole_pairs(rows)
            if whole:
                coarse = await self._access.read(partial(folded, whole, block))
                await self._access.write(partial(self._fold, block, coarse))
                pair = whole[-1].namespace, whole[-1].task_type
            if len(rows) < FOLD_ROWS:
                return
            await asyncio.sleep(_PAUSE_SECONDS)

    def _read(self, restored: Restored, behind: RowKey) -> RowKey | None:
        rows = self._store.stats_after(behind, READ_ROWS)
        restored.add(rows)
        if len(rows) < READ_ROWS:
            restored.finish()
            restored.add_histograms(self._store.histograms())
            return None
        last = rows[-1]
        return last.minute, last.namespace, last.task_type

    def _fold(self, block: int, rows: Sequence[MinuteRow]) -> None:
        with self._store.transaction(now=self._clock()) as transaction:
            transaction.renew(self._epoch())
            fold(transaction, block, block + BLOCK, rows)

    def _has_before(self, minute: int) -> bool:
        found = self._store.stats_after((-1, "", ""), 1)
        return bool(found) and found[0].minute < minute

    def _forget(self, minute: int) -> int:
        with self._store.transaction(now=self._clock()) as transaction:
            transaction.renew(self._epoch())
            return forget(transaction, minute)


def _whole_pairs(rows: Sequence[MinuteRow]) -> Sequence[MinuteRow]:
    """Leave out the last pair of a full page: some of its rows may be on the next page."""
    if len(rows) < FOLD_ROWS:
        return rows
    last = rows[-1].namespace, rows[-1].task_type
    return [row for row in rows if (row.namespace, row.task_type) != last]


async def keep_stats(ticker: "Ticker") -> None:
    """Restore the statistics of earlier trackers, and then keep their rows few."""
    stats = ticker.ledger.stats
    upkeep = StatsUpkeep(
        ticker.store, ticker.access, stats, epoch=lambda: ticker.epoch, clock=ticker.clock
    )
    await upkeep.restore()
    if stats.write_due < math.inf:  # something happened meanwhile
        ticker.wake.set()
    await upkeep.run()
