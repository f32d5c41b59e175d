"""The moves of waiting tasks to other lanes, after a version has changed the keyed limits of types.

They go in small steps, each in a transaction of its own between two ticks. If a task's values have
other names than its type's limits, it is to be moved, and its lane is closed until then. Where
values come from is stored by type: see `LimitPlaces`.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

from raytasks.model.controls import Limit
from raytasks.model.lane_names import limit_values_again
from raytasks.model.limit_places import LimitPlaces, places_of
from raytasks.store.lane_rows import LaneRow, ReadyChange
from raytasks.store.relaning import Compute, LaneCursor, RelaneResult, RelaneStep
from raytasks.tracker.keyed_limits import KeyedLimits
from raytasks.tracker.renewing import Renewal

TICKS_FIRST = 4
"""Number of ticks that run before a step while ticks have work."""

MAX_LANES = 200
"""Maximum number of lanes from which one step takes ready tasks."""

_PAUSE_SECONDS = 5.0  # after a step that failed


class LaneMoves:
    """The schedule of the moves: single lanes first, then type after type.

    All methods belong to one event loop. `clock` returns seconds since the epoch, `monotonic`
    seconds since any time.
    """

    def __init__(
        self, limits: KeyedLimits, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[str, LimitPlaces] = {}
        self._wanted: dict[str, LimitPlaces] = {}  # types to walk through, the present one first
        self._lanes: dict[str, dict[str, None]] = {}  # that came since, by type
        self._step: RelaneStep | None = None
        self._cursor = LaneCursor()
        self._ticks = 0
        self._paused_until = -math.inf
        self.closed: frozenset[str] = frozenset()
        """The types of which nothing is claimed until all waiting tasks are moved.

        Either their values may be those of another place, or they are in order by a new value.
        """
        self.renewals: Mapping[str, Renewal] = {}
        """By type: what to do with tasks that wait again."""

    def load(self, places: Mapping[str, LimitPlaces]) -> None:
        """Take what is known on disk of where values come from. Call `begin` after it."""
        self._known = dict(places)
        self._wanted.clear()

    def begin(self, rows: Iterable[LaneRow]) -> None:
        """Begin again, as all was read again or another version is in force."""
        self._known |= self._wanted  # values may come from there, though it is not on disk yet
        self._wanted.clear()
        self._lanes.clear()
        self._step, self._cursor = None, LaneCursor()
        known = {name: self._places(name) for name in self._limits.types}
        self._wanted |= {name: places for name, places in known.items() if not places.moved}
        self.closed = frozenset(name for name, places in self._wanted.items() if places.renewed)
        for row in rows:
            name = row.task_type
            if self._limits.fit(name, row.limit_values):
                continue
            if name not in self._wanted:
                self._lanes.setdefault(name, {})[row.lane] = None
            elif _has_order(self._limits.declared_of(name)):
                self.closed |= {name}
        self.renewals = {
            name: Renewal(places.since, self._compute(name))
            for name, places in known.items()
            if places.renewed
        }

    def _places(self, task_type: str) -> LimitPlaces:
        """Return where values come from in the version in force."""
        present, now = places_of(self._limits.declared_of(task_type)), self._clock()
        known = self._known.get(task_type)
        if known is None:
            return LimitPlaces(present, {}, now, moved=not present)
        return known.followed_by(present, now)

    def note(self, changes: Iterable[ReadyChange]) -> None:
        """Note the lanes of tasks that became ready which are not those of their type."""
        fit = self._limits.fit
        for change in changes:
            if change.change > 0 and not fit(change.task_type, change.limit_values):
                self._lanes.setdefault(change.task_type, {})[change.lane] = None

    @property
    def _has_some(self) -> bool:
        return bool(self._lanes or self._wanted)

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

    def turn(self) -> RelaneStep:
        """Return the next step. Ready tasks of single lanes go first, as these are few."""
        if self._lanes:
            name, lanes = next(iter(self._lanes.items()))
            some = tuple(islice(lanes, MAX_LANES))
            self._step = RelaneStep(name, LaneCursor(), self._compute(name), some)
        else:
            name, places = next(iter(self._wanted.items()))
            self._step = RelaneStep(name, self._cursor, self._compute(name), places=places)
        return self._step

    def _compute(self, task_type: str) -> Compute:
        limits = self._limits.declared_of(task_type)
        former = (self._wanted.get(task_type) or self._places(task_type)).renewed

        def compute(text: str, known: str | None) -> str | None:
            return limit_values_again(text, known, limits, former)

        return compute

    def done(self, step: RelaneStep, result: RelaneResult) -> None:
        """Record the result of a step. One from before `begin` says nothing."""
        self._ticks = 0
        if step is not self._step:
            return
        if step.lanes:
            if not result.changed:
                self._leave(step)
        elif result.cursor is not None:
            self._cursor = result.cursor
        else:
            name, self._cursor = step.task_type, LaneCursor()
            self._known[name] = self._wanted.pop(name)._replace(moved=True)
            self.closed -= {name}

    def _leave(self, step: RelaneStep) -> None:
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


def _has_order(limits: Sequence[Limit]) -> bool:
    return any(limit.ordered for limit in limits if limit.by is not None)
