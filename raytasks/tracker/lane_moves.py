"""The moves of waiting tasks to other lanes, after a version has changed the keyed limits of types.

They go in small steps, each in a transaction of its own between two ticks. Nothing of their
progress is stored: a task whose values are not those of its type's limits shows what is to be done.
"""

from raytasks.model.lanes import limit_values_again
from raytasks.store.relaning import Compute, LaneCursor, RelaneResult
from raytasks.tracker.lanes import Lanes

TICKS_FIRST = 4
"""Number of ticks that run before a step while ticks have work."""


class LaneMoves:
    """The schedule of the moves: type after type. All methods belong to the tracker's event loop."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        self._type: str | None = None
        self._cursor = LaneCursor()
        self._ticks = 0

    @property
    def any(self) -> bool:
        """Whether there is something to do."""
        return self._type is not None or bool(self._lanes.misplaced)

    def is_due(self, *, idle: bool) -> bool:
        """Return whether a step is due. With `idle`, a tick would have nothing to do."""
        if not self.any:
            return False
        self._ticks += 1
        return idle or self._ticks > TICKS_FIRST

    def turn(self) -> tuple[str, LaneCursor, Compute]:
        """Return the type of the next step, where it begins, and how values are computed."""
        if self._type is None:
            self._type, self._cursor = self._lanes.misplaced.pop(), LaneCursor()
        limits = self._lanes.limits_of(self._type)
        return self._type, self._cursor, lambda text, known: limit_values_again(text, known, limits)

    def done(self, result: RelaneResult) -> None:
        """Record the result of a step."""
        self._ticks = 0
        if result.cursor is None:
            self._type = None
        else:
            self._cursor = result.cursor

    def forget(self) -> None:
        """Begin again, as all was read again or another version is in force."""
        self._type = None
