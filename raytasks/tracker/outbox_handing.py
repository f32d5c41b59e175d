"""The way of rows of the outbox into ticks: all at once, or fewer while ticks fail for them."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from raytasks.model.tasks import StoreUnavailable
from raytasks.store.refusals import error_name, traceback_of
from raytasks.tracker.awaited_commands import Handing, RowRefused
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.outbox_book import RowBook
from raytasks.tracker.outbox_intake import OutboxEntry

if TYPE_CHECKING:
    from raytasks.tracker.backlog import Backlog
    from raytasks.tracker.ticker import Ticker

log = logging.getLogger(__name__)

MAX_FAILURES = 3
"""Number of failures of ticks with rows, in a row, after which rows are tried by themselves."""

MAX_CULPRITS = 8
"""Maximum number of rows set aside in doubt, one after the other. With more, the database is away,
whatever it says."""


@dataclass(frozen=True)
class Handed:
    """How many rows are gone, and whether others are to be handed in at once."""

    gone: int
    again: bool


class RowHanding:
    """Hands rows in to a tracker's ticks, and notes in the `book` what could not be taken."""

    def __init__(self, ticker: "Ticker", backlog: "Backlog", book: RowBook) -> None:
        self._ticker = ticker
        self._backlog = backlog
        self._book = book
        self._failures = 0
        self._some = 1  # so many rows are tried by themselves after too many failures
        self._culprits = 0

    async def hand_in(self, entries: Sequence[OutboxEntry]) -> Handed:
        """Give entries to the next tick, or some to one of their own. Raises `StoreUnavailable`."""
        chosen, trial = self._chosen(entries)
        handings = [Handing(entry) for entry in chosen]
        if trial:
            group = Inbox(handings=list(handings), alone=True, trial=True)
            self._ticker.inbox.suspects.append(group)
        else:
            self._ticker.inbox.handings += handings
        self._ticker.wake.set()
        with self._backlog.submitting([entry.task for entry in chosen if entry.refusal is None]):
            await asyncio.wait([handing.answer for handing in handings])
        return self._booked(handings, is_all=len(chosen) == len(entries))

    def _chosen(self, entries: Sequence[OutboxEntry]) -> tuple[Sequence[OutboxEntry], bool]:
        """Return the entries for a tick, and whether they are tried by themselves."""
        alone = [entry for entry in entries if self._book.goes_alone(entry.row_id)]
        if alone:
            return alone[:1], True
        if self._failures < MAX_FAILURES:
            return entries, False
        return entries[: self._some], True

    def _booked(self, handings: Sequence[Handing], *, is_all: bool) -> Handed:
        """Note the answers. Raises `StoreUnavailable`."""
        book, now = self._book, asyncio.get_running_loop().time()
        gone, again = 0, not is_all
        away: StoreUnavailable | None = None
        doubt: Exception | None = None
        for handing in handings:
            row_id = handing.entry.row_id
            match handing.answer.exception():
                case None if handing.answer.result():
                    gone += 1
                    book.stored(row_id)
                case None:
                    book.locked(row_id, now)
                case StoreUnavailable() as error:
                    away = error
                case RowRefused(doubtful=True, error=error):
                    doubt = error
                case RowRefused(error=error):
                    again |= self._refused(handing.entry, error, now)
                case BaseException() as error:
                    raise error
        if away is not None:
            self._failures += 1
            self._some = max(1, len(handings) // 2)
            raise away
        if doubt is not None:
            self._doubted([handing.entry for handing in handings], doubt, now)
            return Handed(gone, again or len(handings) > 1)
        self._culprits = 0
        self._some *= 2
        if is_all:
            self._failures = 0
        return Handed(gone, again)

    def _refused(self, entry: OutboxEntry, error: Exception, now: float) -> bool:
        """Have a row that the database refuses tried in another way, or later.

        Returns whether that is at once.
        """
        self._tell(entry, "the database refuses the row %s of the outbox: %s", error)
        if self._book.refused(entry.row_id, error, now, is_failed=entry.refusal is not None):
            self._ticker.recovery.aside.name(_name(entry), error)
            return False
        return True

    def _doubted(self, entries: Sequence[OutboxEntry], error: Exception, now: float) -> None:
        """Try fewer rows than these, of which one makes ticks fail; set a single one aside.

        Raises `StoreUnavailable` if that was done for too many, one after the other.
        """
        if len(entries) > 1:
            self._some = len(entries) // 2
            return
        [entry] = entries
        self._culprits += 1
        if self._culprits > MAX_CULPRITS and not self._book.goes_alone(entry.row_id):
            raise StoreUnavailable(str(error)) from error
        self._tell(entry, "ticks fail for the row %s of the outbox: %s", error)
        self._book.doubted(entry.row_id, now)
        self._ticker.recovery.aside.name(_name(entry), error)

    def _tell(self, entry: OutboxEntry, text: str, error: Exception) -> None:
        """Write an error of a row into the log, once for each row."""
        if self._book.is_news(entry.row_id):
            log.error(text, entry.row_id, error_name(error), exc_info=traceback_of(error))


def _name(entry: OutboxEntry) -> str:
    return f"row of the outbox: {entry.row_id}"
