"""The moves of waiting tasks to other lanes, after a version has changed the keyed limits of types.

They go in small steps, each in a transaction of its own between two ticks. Nothing of their
progress is stored: a task whose values are not those of its type's limits shows what is to be done.
Until it is moved, its lane is closed.
"""

import math
from collections.abc import Callable, Iterable
from itertools import islice
from typing import NamedTuple

from raytasks.model.lane_names import limit_values_again
from raytasks.store.lane_rows import LaneRow, ReadyChange
from raytasks.store.relaning import Compute, LaneCursor, RelaneResult
from raytasks.tracker.keyed_limits import KeyedLimits

TICKS_FIRST = 4
"""Number of ticks that run before a step while ticks have work."""

MAX_LANES = 200
"""Maximum number of lanes from which one step takes ready tasks."""

_PAUSE_SECONDS = 5.0  # after a step that failed


class MoveStep(NamedTuple):
    """One step: the next waiting tasks of a type from the cursor on, or ready ones of `lanes`."""

    task_type: str
    cursor: LaneCursor
    compute: Compute
    lanes: tuple[str, ...] = ()


class LaneMoves:
    """The schedule of the moves: single lanes first, then type after type.

    All methods belong to one event loop. `monotonic` returns seconds since any time.
    """

    def __init__(self, limits: KeyedLimits, monotonic: Callable[[], float]) -> None:
        self._limits = limits
        self._monotonic = monotonic
        self._wanted: dict[str, None] = {}
        self._lanes: dict[str, dict[str, None]] = {}  # that came since, by type
        self._step: MoveStep | None = None
        self._places: dict[str, dict[str, str]] = {}  # of values, by type and limit
        self._renewed: dict[str, set[str]] = {}
        self._type: str | None = None
        self._cursor = LaneCursor()
        self._ticks = 0
        self._paused_until = -math.inf

    def begin(self, rows: Iterable[LaneRow]) -> None:
        """Begin again, as all was read again or another version is in force."""
        self._wanted.clear()
        self._lanes.clear()
        self._type = self._step = None
        self._note_places()
        for row in rows:
            if not self._limits.fit(row.task_type, row.limit_values):
                self._wanted[row.task_type] = None

    def _note_places(self) -> None:
        """Note where values are found, and whose place differs from that of the last version."""
        before, self._places = self._places, {}
        for name in self._limits.types:
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
        """Note the lanes of tasks that became ready which are not those of their type."""
        fit = self._limits.fit
        for change in changes:
            if change.change > 0 and not fit(change.task_type, change.limit_values):
                self._lanes.setdefault(change.task_type, {})[change.lane] = None

    @property
    def _has_some(self) -> bool:
        return bool(self._lanes or self._wanted) or self._type is not None

    @property
    def any(self) -> bool:
        """Whether there is something to do at once."""
        return self._has_some and self._monotonic() >= self._paused_until

    def is_due(self, *, idle: bool) -> bool:
        """Return whether a step is due. With `idle`, a tick would have nothing to do."""
        if not self.any:
            return False
        self._ticks += 1
        return idle or self._ticks > TICKS_FIRST

    def turn(self) -> MoveStep:
        """Return the next step. Ready tasks of single lanes go first, as these are few."""
        if self._lanes:
            name, lanes = next(iter(self._lanes.items()))
            some = tuple(islice(lanes, MAX_LANES))
            self._step = MoveStep(name, LaneCursor(), self._compute(name), some)
            return self._step
        if self._type is None:
            self._type, self._cursor = next(iter(self._wanted)), LaneCursor()
            del self._wanted[self._type]
        self._step = MoveStep(self._type, self._cursor, self._compute(self._type))
        return self._step

    def _compute(self, task_type: str) -> Compute:
        limits = self._limits.declared_of(task_type)
        renewed = frozenset(self._renewed.get(task_type, ()))

        def compute(text: str, known: str | None) -> str | None:
            return limit_values_again(text, known, limits, renewed)

        return compute

    def done(self, step: MoveStep, result: RelaneResult) -> None:
        """Record the result of a step. One from before `begin` says nothing."""
        self._ticks = 0
        if step is not self._step:
            return
        if step.lanes:
            if not result.changed:
                self._leave(step)
        elif result.cursor is None:
            self._renewed.pop(self._type or "", None)
            self._type = None
        else:
            self._cursor = result.cursor

    def _leave(self, step: MoveStep) -> None:
        lanes = self._lanes.get(step.task_type, {})
        for name in step.lanes:
            lanes.pop(name, None)
        if not lanes:
            self._lanes.pop(step.task_type, None)

    def failed(self) -> None:
        """Record that a step has failed. It is tried again after a pause."""
        self._paused_until = self._monotonic() + _PAUSE_SECONDS

    def seconds_until_due(self) -> float:
        """Return the seconds until a step can be tried again; infinite if nothing is to be done."""
        if not self._has_some:
            return math.inf
        return self._paused_until - self._monotonic()
