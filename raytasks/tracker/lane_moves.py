"""The moves of waiting tasks to other lanes, after a version has changed the keyed limits of types.

They go in small steps, each in a transaction of its own between two ticks. Nothing of their
progress is stored: a task whose values are not those of its type's limits shows what is to be done.
"""

import math
from collections.abc import Callable, Iterable

from raytasks.model.lane_names import limit_values_again
from raytasks.store.lane_rows import LaneRow, ReadyChange
from raytasks.store.relaning import Compute, LaneCursor, RelaneResult
from raytasks.tracker.limit_book import Limits
from raytasks.tracker.type_limits import values_of

TICKS_FIRST = 4
"""Number of ticks that run before a step while ticks have work."""

_PAUSE_SECONDS = 5.0  # after a step that failed


class LaneMoves:
    """The schedule of the moves: type after type. All methods belong to one event loop.

    `monotonic` returns seconds since any time.
    """

    def __init__(self, limits: Limits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._wanted: dict[str, None] = {}
        self._places: dict[str, dict[str, str]] = {}  # of values, by type and limit
        self._renewed: dict[str, set[str]] = {}
        self._type: str | None = None
        self._cursor = LaneCursor()
        self._ticks = 0
        self._paused_until = -math.inf

    def begin(self, rows: Iterable[LaneRow]) -> None:
        """Begin again, as all was read again or another version is in force."""
        self._wanted.clear()
        self._type = None
        self._note_places()
        for row in rows:
            self._look(row.task_type, row.limit_values)

    def _note_places(self) -> None:
        """Note where values are found, and whose place differs from that of the last version."""
        before, self._places = self._places, {}
        for name in self._limits.types_with_handlers:
            places = {
                limit.name: limit.by
                for limit in self._limits.declared_of(name)
                if limit.by is not None
            }
            self._places[name] = places
            known = before.get(name, places)
            if moved := {limit for limit, by in places.items() if known.get(limit, by) != by}:
                self._renewed.setdefault(name, set()).update(moved)
        self._wanted.update(dict.fromkeys(self._renewed))

    def note(self, changes: Iterable[ReadyChange]) -> None:
        """Look whether tasks that became ready are in a lane of their type."""
        for change in changes:
            if change.change > 0:
                self._look(change.task_type, change.limit_values)

    def _look(self, task_type: str, limit_values: str | None) -> None:
        names = self._limits.keyed_names(task_type)
        if names is not None and values_of(limit_values).keys() != names:
            self._wanted[task_type] = None

    @property
    def any(self) -> bool:
        """Whether there is something to do at once."""
        if self._type is None and not self._wanted:
            return False
        return self._monotonic() >= self._paused_until

    def is_due(self, *, idle: bool) -> bool:
        """Return whether a step is due. With `idle`, a tick would have nothing to do."""
        if not self.any:
            return False
        self._ticks += 1
        return idle or self._ticks > TICKS_FIRST

    def turn(self) -> tuple[str, LaneCursor, Compute]:
        """Return the type of the next step, where it begins, and how values are computed."""
        if self._type is None:
            self._type, self._cursor = next(iter(self._wanted)), LaneCursor()
            del self._wanted[self._type]
        limits = self._limits.declared_of(self._type)
        renewed = frozenset(self._renewed.get(self._type, ()))

        def compute(text: str, known: str | None) -> str | None:
            return limit_values_again(text, known, limits, renewed)

        return self._type, self._cursor, compute

    def done(self, result: RelaneResult) -> None:
        """Record the result of a step."""
        self._ticks = 0
        if result.cursor is None:
            self._renewed.pop(self._type or "", None)
            self._type = None
        else:
            self._cursor = result.cursor

    def failed(self) -> None:
        """Record that a step has failed. It is tried again after a pause."""
        self._paused_until = self._monotonic() + _PAUSE_SECONDS

    def seconds_until_due(self) -> float:
        """Return the seconds until a step can be tried again; infinite if nothing is to be done."""
        if self._type is None and not self._wanted:
            return math.inf
        return self._paused_until - self._monotonic()
