"""The reader of the outbox: it looks for committed rows, and makes commands of them.

It has no place where it stopped: it always reads what is there. A row goes with the tick that
stores its task, and not before. So each row is taken once, in whatever order transactions commit.
"""

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from raytasks.model.handler_info import HandlerInfo
from raytasks.model.outbox_documents import OutboxRow
from raytasks.model.tasks import StoreUnavailable
from raytasks.store.refusals import error_name, traceback_of
from raytasks.tracker.outbox_book import RowBook, Try
from raytasks.tracker.outbox_handing import Handed, RowHanding
from raytasks.tracker.outbox_intake import OutboxEntry, OutboxTerms, entry_of, failed_entry
from raytasks.tracker.outbox_state import BACKLOG_FULL, DATABASE_AWAY, NO_VERSION, OutboxState

if TYPE_CHECKING:
    from raytasks.tracker.backlog import Backlog
    from raytasks.tracker.ticker import Ticker

log = logging.getLogger(__name__)

IDLE_SECONDS = 1.0
"""Seconds between two looks when nothing has come for a while."""

BUSY_SECONDS = 0.05
"""Seconds between two looks while something came lately."""

LATELY_SECONDS = 2.0
"""For this many seconds after a row or a nudge, looks are frequent."""

NUDGED_SECONDS = (0.005, 0.01, 0.02)
"""Seconds until the next looks after a nudge that found nothing: it may come before the commit."""

MIN_SECONDS = 0.004
"""Seconds between two looks at the least, however many nudges come."""

_COUNT_SECONDS = 1.0


class OutboxReader:
    """Takes the rows of the outbox into the tracker. One event loop has it.

    `terms` are the service's settings for them.
    """

    def __init__(self, ticker: "Ticker", backlog: "Backlog") -> None:
        self._ticker = ticker
        self._backlog = backlog
        self.terms = OutboxTerms()
        self.state = OutboxState()
        self._handlers: Mapping[str, HandlerInfo] | None = None
        self._nudged = asyncio.Event()
        self._lately = -math.inf
        self._looks_soon: Iterator[float] = iter(())
        self._looked_at = -math.inf
        self._book = RowBook()
        self._handing = RowHanding(ticker, backlog, self._book)
        self._counted_at = -math.inf
        self._held_by: str | None = None
        self._first_id: str | None = None

    def set_handlers(self, infos: Iterable[HandlerInfo]) -> None:
        """Take the handlers of the version in force. Until then no row is taken."""
        self._handlers = {info.task_type: info for info in infos}
        self._nudged.set()

    def nudge(self) -> None:
        """Look at once: somebody has committed, or is about to."""
        self._nudged.set()

    def document(self) -> dict[str, Any]:
        """Return the state of the outbox for people."""
        return self.state.document(self._ticker.clock())

    async def take_all(self) -> None:
        """Take all that is there now. For tests; it may be called beside `run`."""
        while await self._turn():
            pass

    async def run(self) -> None:
        """Take rows without end."""
        while True:
            await self._ticker.loaded.wait()
            self._nudged.clear()
            try:
                if not await self._turn():
                    await self._wait()
            except StoreUnavailable:
                self.state = replace(self.state, held_by=DATABASE_AWAY)
                with contextlib.suppress(StoreUnavailable):
                    await self._count(DATABASE_AWAY)  # it may answer reads
                await asyncio.sleep(IDLE_SECONDS)
            except Exception as error:
                text = "the outbox cannot be read; trying again: %s"
                log.error(text, error_name(error), exc_info=traceback_of(error))
                with contextlib.suppress(StoreUnavailable):
                    await self._count(None)  # so that `/health` says that they wait
                await asyncio.sleep(IDLE_SECONDS)

    async def _wait(self) -> None:
        """Wait until the next look is due."""
        is_lately = _time() - self._lately < LATELY_SECONDS
        seconds = next(self._looks_soon, BUSY_SECONDS if is_lately else IDLE_SECONDS)
        await asyncio.sleep(max(0.0, self._looked_at + MIN_SECONDS - _time()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudged.wait()
                self._lately = _time()
                self._looks_soon = iter(NUDGED_SECONDS)

    async def _turn(self) -> bool:
        """Take what is there; return whether to look again at once. Raises `StoreUnavailable`."""
        ticker, now = self._ticker, _time()
        self._looked_at = now
        aside = self._book.waiting(now)
        full = self._backlog.full_namespaces()
        most = self.terms.max_document_bytes
        look = await ticker.access.read(lambda: ticker.store.outbox(aside, full, most))
        self._book.forget_times([row.row_id for row in look.rows], self._first_id)
        if not look.rows:
            if full or aside:
                await self._count(BACKLOG_FULL if full else None)
            else:
                self._book.forget_others(())
                self.state = OutboxState()
            return False
        if self._handlers is None or self._book.is_full(now):
            await self._count(NO_VERSION if self._handlers is None else None)
            return False
        at = ticker.clock()
        entries = self._entries(look.rows, self._handlers, at)
        taken = self._that_fit(entries)
        handed = await self._handing.hand_in(taken) if taken else Handed(0, again=False)
        if handed.gone:
            self._lately = _time()
        if len(look.rows) > handed.gone or look.more or aside:
            held = BACKLOG_FULL if len(taken) < len(entries) else None
            await self._count(held)
        else:
            self.state = OutboxState()
        return handed.again or (look.more and handed.gone > 0)

    def _entries(
        self, rows: Iterable[OutboxRow], handlers: Mapping[str, HandlerInfo], now: float
    ) -> list[OutboxEntry]:
        """Return the entries of rows. One that breaks the check is set aside: a fault of ours."""
        book = self._book
        entries: list[OutboxEntry] = []
        for row in rows:
            written_at = book.written_at(row.row_id, row.created_at, now)
            way, error = book.tried(row.row_id)
            try:
                if error is None or way is Try.AS_ASKED:
                    entry = entry_of(row, handlers, self.terms, written_at)
                else:
                    bare = way is Try.BARE
                    entry = failed_entry(row, handlers, self.terms, error, bare=bare)
                entries.append(entry)
            except Exception as broken:
                if book.is_news(row.row_id):
                    text = "the row %s of the outbox cannot be checked"
                    log.exception(text, row.row_id, exc_info=traceback_of(broken))
                book.broken(row.row_id, _time())
        return entries

    def _that_fit(self, entries: Sequence[OutboxEntry]) -> list[OutboxEntry]:
        """Return the entries for which the backlog has room. What has failed needs none."""
        room = self._backlog.room
        rooms: Counter[str] = Counter()
        fitting: list[OutboxEntry] = []
        for entry in entries:
            if entry.refusal is None:
                namespace = entry.task.namespace
                of_it = self._backlog.room_in(namespace)
                if room < 1 or (of_it is not None and rooms[namespace] >= of_it):
                    continue
                room -= 1
                rooms[namespace] += 1
            fitting.append(entry)
        return fitting

    async def _count(self, held_by: str | None) -> None:
        """Note what waits; it is counted at most once a second. Raises `StoreUnavailable`."""
        ticker, now = self._ticker, _time()
        if now - self._counted_at < _COUNT_SECONDS and self._held_by == held_by:
            return
        self._counted_at, self._held_by = now, held_by
        ids = self._book.ids
        size, there = await ticker.access.read(lambda: ticker.store.outbox_size(ids))
        self._book.forget_others(there)
        oldest_at, self._first_id = None, size.first_id
        if size.first_id is not None:
            oldest_at = self._book.written_at(size.first_id, size.first_at, ticker.clock())
        if held_by != DATABASE_AWAY:
            held_by = self._book.why(size.first_id) or held_by
        self.state = OutboxState(size.rows, oldest_at, held_by, self._book.aside)


def _time() -> float:
    """Return the time of the event loop: what a test's own clock says is not waited for."""
    return asyncio.get_running_loop().time()
