"""The clock that orders tasks, whatever happens to the tracker's wall clock."""

from collections.abc import Callable

from raytasks.store.transaction import BETWEEN_SECONDS


class OrderClock:
    """A clock that shows the tracker's wall clock, but never goes back.

    When the wall clock is set back, this one goes on by the monotonic clock. So a task that is
    submitted later still comes later. `ahead` is its lead over the wall clock, in seconds. The lead
    lasts until the tracker's next life.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._last: float | None = None
        self._looked_at = monotonic()

    def ahead(self, now: float, arrivals: int = 0) -> float:
        """Return the seconds by which it is ahead of the wall clock, which shows `now`.

        `arrivals` is the number of tasks that are taken in now, one after the other.
        """
        looked_at, self._looked_at = self._looked_at, self._monotonic()
        if self._last is None:
            order = now
        else:
            order = max(now, self._last + max(0.0, self._looked_at - looked_at))
        self._last = order + arrivals * BETWEEN_SECONDS
        return order - now
