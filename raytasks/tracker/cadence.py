"""The cadence of what not every tick writes: the renewal of the epoch, and the fold of the counts.

Rows that each tick updates grow without bound on PostgreSQL while any snapshot is held.
"""

import math

from raytasks.tracker.tick import TickInput, TickResult

RENEW_SECONDS = 1.0
"""Minimum seconds between two renewals of the epoch."""

FOLD_SECONDS = 60.0
"""Seconds after which steps of the counts are folded at the latest, by the next tick."""

MAX_STEPS = 250
"""Number of ticks whose steps of the counts are folded at once. Whoever reads the counts adds up
the steps, so there should not be many."""


class Cadence:
    """When ticks renew and fold. All times are monotonic seconds.

    An idle tracker renews its epoch after a third of its lease.
    """

    def __init__(self, lease_seconds: float) -> None:
        self._idle_seconds = lease_seconds / 3
        self._renewed_at = self._folded_at = -math.inf
        self._steps = 1  # the tracker before may have left some

    def must_renew(self, now: float) -> bool:
        """Return whether the epoch has to be renewed, even by a tick with nothing else to do."""
        return now - self._renewed_at > self._idle_seconds

    def renews(self, now: float) -> bool:
        """Return whether a tick that has other work renews the epoch, too."""
        return now - self._renewed_at >= min(RENEW_SECONDS, self._idle_seconds)

    def folds(self, now: float) -> bool:
        """Return whether a tick folds the counts."""
        return self._steps >= MAX_STEPS or (
            self._steps > 0 and now - self._folded_at >= FOLD_SECONDS
        )

    def hurry(self) -> None:
        """Have the next tick renew."""
        self._renewed_at = -math.inf

    def renewed(self, at: float) -> None:
        """Note a renewal that began at a time and was committed."""
        self._renewed_at = at

    def note(self, began_at: float, work: TickInput, done: TickResult) -> None:
        """Note what a committed tick has renewed, changed and folded."""
        if work.renew:
            self.renewed(began_at)
        if done.counts or done.totals:
            self._steps += 1
        if work.fold:
            self._folded_at, self._steps = began_at, 0
