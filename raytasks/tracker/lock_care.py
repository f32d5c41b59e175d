"""The care for locks that other sessions of PostgreSQL hold on what the tracker writes.

A lock makes a tick wait for seconds, and it fails then. After one, ticks wait only briefly for
locks, and their claims pass locked tasks over. That costs one statement a tick, so it ends some
time after the last lock was seen.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from raytasks.tracker.work_health import HealthReason, health_reason

if TYPE_CHECKING:
    from raytasks.tracker.tick import TickInput, TickResult

CARE_SECONDS = 60.0
"""For so many seconds after a lock was seen, ticks take care."""


class LockCare:
    """Whether the ticks of one tracker take care; `monotonic` measures the time."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until: float | None = None
        self._since: float | None = None
        self._locked = 0

    @property
    def is_taken(self) -> bool:
        """Whether the next tick takes care."""
        return self._until is not None

    def begin(self) -> None:
        """Take care from now on: a tick has failed, as others hold a lock."""
        self._until = self._monotonic() + CARE_SECONDS

    def note(self, work: "TickInput", done: "TickResult") -> None:
        """Note whether a tick with care has seen locked tasks."""
        if self._until is None or work.plan is None or not work.plan.questions:
            return
        now = self._monotonic()
        self._locked = len(done.passed_over)
        if self._locked:
            self._until = now + CARE_SECONDS
            self._since = now if self._since is None else self._since
            return
        self._since = None
        if now > self._until:
            self._until = None

    def reasons(self, now: float) -> list[HealthReason]:
        """Return that tasks are locked, if they are; `now` is in seconds since the epoch."""
        if self._since is None or self._monotonic() > (self._until or 0.0):
            return []  # nothing was claimed lately
        seconds = self._monotonic() - self._since
        return [
            health_reason(
                "tasks_locked",
                f"{self._locked} due tasks cannot be claimed, as another session of the database "
                f"has locked them; since {seconds:.0f} s",
                "end that session's transaction: pg_locks and pg_stat_activity tell whose it is",
                since=now - seconds,
                count=self._locked,
            )
        ]
