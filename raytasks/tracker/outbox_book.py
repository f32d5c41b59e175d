"""The memory of the outbox's reader: the rows that it has seen and could not take.

All is in memory: a row that is forgotten is looked at again like any other.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import IntEnum

from raytasks.model.outbox_documents import sound_time
from raytasks.tracker.outbox_state import LOCKED, REFUSED

MAX_ASIDE = 100
"""Maximum number of rows that are set aside. While there are so many, no others are taken."""

MAX_LOCKED = 2000
"""Maximum number of locked rows that are passed over. With so many, no others are taken."""

_FIRST_PAUSE = 1.0
_MAX_PAUSES = {LOCKED: 10.0, REFUSED: 60.0}


class Try(IntEnum):
    """In which way a row is tried; each after the one before was refused by itself."""

    AS_ASKED = 0
    FAILED = 1
    """As a task that has failed, with what can be kept of it."""
    BARE = 2
    """As a task that has failed, with nothing of the row but its id and its namespace."""


@dataclass
class _Kept:
    """A row that could not be taken: why, and when it is tried again."""

    why: str | None = None
    due_at: float = 0.0
    pause: float = 0.0
    tried: Try = Try.AS_ASKED
    error: Exception | None = None
    goes_alone: bool = False
    was_told: bool = False

    def wait(self, why: str, now: float) -> None:
        """Try it again later, after a longer pause than before."""
        longer = min(2 * self.pause, _MAX_PAUSES[why])
        self.pause = longer if self.why == why else _FIRST_PAUSE
        self.why, self.due_at = why, now + self.pause


class RowBook:
    """The rows that could not be taken, by id, and the times of those whose own cannot be."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._seen_at: dict[str, float] = {}

    # Why it waits

    @property
    def aside(self) -> int:
        """How many rows the database refuses."""
        return sum(item.why == REFUSED for item in self._kept.values())

    @property
    def ids(self) -> list[str]:
        """The ids of all rows that could not be taken."""
        return list(self._kept)

    def waiting(self, now: float) -> list[str]:
        """Return the ids of the rows that are not to be tried yet."""
        return [row_id for row_id, item in self._kept.items() if item.due_at > now]

    def is_full(self, now: float) -> bool:
        """Return whether so many rows wait that no others are taken."""
        whys = Counter(item.why for item in self._kept.values() if item.due_at > now)
        return whys[REFUSED] >= MAX_ASIDE or whys[LOCKED] >= MAX_LOCKED

    def why(self, row_id: str | None) -> str | None:
        """Return why a row waits, as `OutboxState.held_by` has it; None if nothing is known."""
        known = self._kept.get(row_id or "")
        return None if known is None else known.why

    # How it is tried

    def tried(self, row_id: str) -> tuple[Try, Exception | None]:
        """Return how a row is to be tried, and the error that it has met."""
        known = self._kept.get(row_id)
        return (Try.AS_ASKED, None) if known is None else (known.tried, known.error)

    def goes_alone(self, row_id: str) -> bool:
        """Return whether a row is to be in a tick of its own."""
        known = self._kept.get(row_id)
        return known is not None and known.goes_alone

    # What came of it

    def stored(self, row_id: str) -> None:
        """Forget a row that is a task now. What went alone is tried again at once."""
        known = self._kept.pop(row_id, None)
        if known is not None and known.goes_alone:
            for item in self._kept.values():
                item.due_at = 0.0 if item.goes_alone else item.due_at

    def locked(self, row_id: str, now: float) -> None:
        """Try a row again later: another session has locked it."""
        self._of(row_id).wait(LOCKED, now)

    def refused(self, row_id: str, error: Exception, now: float, *, is_failed: bool) -> bool:
        """Note that the database refuses a row by itself; return whether it is set aside for that.

        `is_failed`: it was a task that has failed. It is tried in another way at once, until there
        is none.
        """
        known = self._of(row_id)
        if known.tried is Try.AS_ASKED:
            known.error = error
        if known.tried is Try.BARE:
            known.tried = Try.AS_ASKED
            known.wait(REFUSED, now)
            return True
        known.tried = Try.BARE if is_failed else Try.FAILED
        return False

    def broken(self, row_id: str, now: float) -> None:
        """Set a row aside whose check breaks."""
        self._of(row_id).wait(REFUSED, now)

    def doubted(self, row_id: str, now: float) -> None:
        """Set a row aside of which nobody knows whether it is at fault.

        Its tick failed, though the database took other writes. So it goes alone from now on.
        """
        known = self._of(row_id)
        known.goes_alone = True
        known.wait(REFUSED, now)

    def is_news(self, row_id: str) -> bool:
        """Return whether an error of a row is the first that is told; a row is told once."""
        known = self._of(row_id)
        was_told, known.was_told = known.was_told, True
        return not was_told

    def forget_others(self, there: Collection[str]) -> None:
        """Forget the rows that are gone."""
        self._kept = {name: item for name, item in self._kept.items() if name in there}

    def _of(self, row_id: str) -> _Kept:
        return self._kept.setdefault(row_id, _Kept())

    # Times

    def written_at(self, row_id: str, created_at: float, now: float) -> float:
        """Return when a row was written; if what it says cannot be, when it was seen first."""
        seen_at = self._seen_at.get(row_id)
        if seen_at is not None:
            return seen_at
        at = sound_time(created_at, now)
        if at != created_at:
            self._seen_at[row_id] = at
        return at

    def forget_times(self, present: Iterable[str], first: str | None) -> None:
        """Forget when rows were seen, but those that are `present` or the `first`."""
        if self._seen_at:
            kept = {*present, *self._kept, first}
            self._seen_at = {name: at for name, at in self._seen_at.items() if name in kept}
