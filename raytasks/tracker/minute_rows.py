"""The rows of the statistics that may still change: each is the whole of its minute, so a repeated
write does no harm.
"""

import math
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from raytasks.model.tallies import Tally
from raytasks.store.stats_rows import MinuteRow
from raytasks.tracker.stats_restore import WHOLE, Pair

MAX_ROWS = 250
"""Maximum number of rows written in one transaction; the others follow soon."""

_Place = tuple[int, Pair]


class MinuteRows:
    """The minutes of the recent past, in slots of some seconds, and what of them is unwritten.

    A minute that was written and forgotten is never begun again, as that would replace its row.
    """

    def __init__(self) -> None:
        self._first = 0  # no minute before it is begun
        self._minutes: dict[_Place, dict[str, Tally]] = {}
        self._unwritten: set[_Place] = set()
        self._unconfirmed: set[_Place] = set()

    def add(self, at: int, pair: Pair, tally: Tally) -> None:
        """Add what happened in the slot that begins at a time (in seconds since the epoch).

        After the clock was set back, it is added to the first minute that may still change.
        """
        minute, offset = divmod(at, 60)
        self._add(minute, pair, str(offset), tally)

    def _add(self, minute: int, pair: Pair, slot: str, tally: Tally) -> None:
        is_over = minute < self._first
        slots = self._minutes.setdefault((max(minute, self._first), pair), {})
        if is_over:
            slot = next(reversed(slots), slot)  # the order of slots is that of time
        slots.setdefault(slot, Tally()).add(tally)
        self._unwritten.add((max(minute, self._first), pair))

    def begin_at(self, minute: int) -> None:
        """Begin no minute before this one: the database may have rows of them."""
        self._first = max(self._first, minute)
        for place in [place for place in self._minutes if place[0] < self._first]:
            self._unwritten.discard(place)
            for slot, tally in self._minutes.pop(place).items():
                self._add(*place, slot, tally)

    def adopt(self, minute: int, pair: Pair, slots: Mapping[str, Tally]) -> None:
        """Add what an earlier tracker has written, before what came since."""
        known = dict(slots)
        for offset, tally in self._minutes.pop((minute, pair), {}).items():
            known.setdefault(offset, Tally()).add(tally)
        self._minutes[minute, pair] = known

    @property
    def any(self) -> bool:
        """Whether a row is to be written."""
        return bool(self._unwritten or self._unconfirmed)

    @property
    def more(self) -> bool:
        """Whether `take` has left rows for the next time."""
        return bool(self._unwritten)

    @property
    def oldest(self) -> float:
        """The oldest minute whose row may still change; infinite if there is none."""
        return min((minute for minute, _ in self._minutes), default=math.inf)

    def take(self, this_minute: int) -> list[MinuteRow]:
        """Return rows to be written; call `written` once they are on disk."""
        self._close(this_minute)
        self._unwritten |= self._unconfirmed
        places = sorted(self._unwritten)[:MAX_ROWS]
        self._unconfirmed = set(places)
        self._unwritten -= self._unconfirmed
        return list(self._rows(places))

    def written(self) -> None:
        """Record that the rows last returned by `take` are on disk."""
        self._unconfirmed.clear()

    def _close(self, this_minute: int) -> None:
        """Merge the slots of each minute that is older than the first window."""
        wide = [
            (place, slots)
            for place, slots in self._minutes.items()
            if place[0] < this_minute - 1 and list(slots) != [WHOLE]
        ]
        for place, slots in wide[:MAX_ROWS]:
            whole = Tally()
            for tally in slots.values():
                whole.add(tally)
            slots.clear()
            slots[WHOLE] = whole
            self._unwritten.add(place)
        waiting = self._unwritten | self._unconfirmed | {place for place, _ in wide[MAX_ROWS:]}
        over = [
            place for place in self._minutes if place[0] < this_minute - 1 and place not in waiting
        ]
        for place in over:
            del self._minutes[place]
            self._first = max(self._first, place[0] + 1)

    def _rows(self, places: Iterable[_Place]) -> Iterator[MinuteRow]:
        for minute, pair in places:
            data = msgspec.json.encode(self._minutes[minute, pair])
            yield MinuteRow(minute, *pair, data.decode())
