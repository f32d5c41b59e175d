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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raytasks.model.handler_info import HandlerInfo
from raytasks.model.outbox_documents import OutboxRow
from raytasks.model.tasks import RaytasksError, StoreUnavailable
from raytasks.tracker.inbox import Handing
from raytasks.tracker.outbox_intake import OutboxEntry, OutboxTerms, entry_of
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

MAX_ASIDE = 100
"""Maximum number of rows that are set aside. While there are so many, no others are taken."""

_FIRST_PAUSE = 1.0
_MAX_PAUSE = 60.0
_COUNT_SECONDS = 1.0


@dataclass
class _Refused:
    """A row whose tick fails: when it is tried again, by the clock of the event loop."""

    due_at: float
    pause: float


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
        self._aside: dict[str, _Refused] = {}
        self._counted_at = -math.inf

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
                await asyncio.sleep(IDLE_SECONDS)
            except Exception:
                log.exception("the outbox cannot be read; trying again")
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
        aside = [row_id for row_id, item in self._aside.items() if item.due_at > now]
        full = self._backlog.full_namespaces()
        most = self.terms.max_document_bytes
        look = await ticker.access.read(lambda: ticker.store.outbox(aside, full, most))
        if not look.rows:
            if full or aside:
                await self._count(BACKLOG_FULL if full else None)
            else:
                self.state = OutboxState(set_aside=len(self._aside))
            return False
        if self._handlers is None or len(aside) >= MAX_ASIDE:
            await self._count(NO_VERSION if self._handlers is None else None)
            return False
        at = ticker.clock()
        entries = self._entries(look.rows, self._handlers, at)
        taken = self._that_fit(entries)
        stored = await self._hand_in(taken) if taken else 0
        if stored:
            self._lately = _time()
        waiting = len(look.rows) - stored
        if waiting or look.more:
            held = BACKLOG_FULL if len(taken) < len(entries) else None
            await self._count(held)
        else:
            self.state = OutboxState(set_aside=len(self._aside))
        return look.more and stored > 0

    def _entries(
        self, rows: Iterable[OutboxRow], handlers: Mapping[str, HandlerInfo], now: float
    ) -> list[OutboxEntry]:
        """Return the entries of rows. One that breaks the check is set aside: a fault of ours."""
        entries: list[OutboxEntry] = []
        for row in rows:
            try:
                entries.append(entry_of(row, handlers, self.terms, now))
            except Exception:
                log.exception("the row %s of the outbox cannot be checked", row.row_id)
                self._set_aside(row.row_id)
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

    async def _hand_in(self, entries: Sequence[OutboxEntry]) -> int:
        """Give entries to the next tick; return how many are on disk. Raises `StoreUnavailable`."""
        ticker = self._ticker
        handings = [Handing(entry) for entry in entries]
        ticker.inbox.handings += handings
        ticker.wake.set()
        with self._backlog.submitting([entry.task for entry in entries if entry.refusal is None]):
            await asyncio.wait([handing.answer for handing in handings])
        stored, away = 0, None
        for handing in handings:
            error = handing.answer.exception()
            row_id = handing.entry.row_id
            match error:
                case None:
                    stored += 1
                    self._aside.pop(row_id, None)
                case StoreUnavailable():
                    away = error
                case RaytasksError():
                    self._set_aside(row_id)
                case _:
                    raise error
        if away is not None:
            raise away
        return stored

    def _set_aside(self, row_id: str) -> None:
        """Try a row again later, as its check or its tick fails. The error was logged."""
        known = self._aside.get(row_id)
        pause = _FIRST_PAUSE if known is None else min(2 * known.pause, _MAX_PAUSE)
        self._aside[row_id] = _Refused(_time() + pause, pause)

    async def _count(self, held_by: str | None) -> None:
        """Note what waits; it is counted at most once a second. Raises `StoreUnavailable`."""
        ticker, now = self._ticker, _time()
        if now - self._counted_at < _COUNT_SECONDS and self.state.held_by == held_by:
            return
        self._counted_at = now
        rows, oldest_at = await ticker.access.read(ticker.store.outbox_size)
        if oldest_at is not None and not 0.0 < oldest_at <= ticker.clock():  # a writer's clock
            oldest_at = ticker.clock() if self.state.oldest_at is None else self.state.oldest_at
        self.state = OutboxState(rows, oldest_at, held_by, len(self._aside))


def _time() -> float:
    """Return the time of the event loop: what a test's own clock says is not waited for."""
    return asyncio.get_running_loop().time()
