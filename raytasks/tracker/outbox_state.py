"""The state of the outbox at the last look: for people, for metrics and for `/health`."""

from dataclasses import dataclass
from typing import Any

from raytasks.tracker.work_health import HealthReason, health_reason

STANDS_SECONDS = 10.0
"""Seconds that a committed row may wait before `/health` says that the outbox stands still."""

BACKLOG_FULL, NO_VERSION, DATABASE_AWAY = "backlog_full", "no_version", "database_away"
LOCKED, REFUSED = "locked", "refused"

_WHY = {
    BACKLOG_FULL: (
        "as many tasks wait as RAYTASKS_MAX_BACKLOG, or the max_backlog of the namespace, allows",
        "let them run with more runners, cancel some, or raise the bound; they are taken then",
    ),
    NO_VERSION: (
        "no version of the handlers is in force yet",
        "deploy one; /versions tells whether one is on trial or was refused",
    ),
    DATABASE_AWAY: (
        "the database cannot be used",
        "mend the database; database.error and the log tell what it says",
    ),
    LOCKED: (
        "another session of the database has locked it",
        "end that session's transaction: pg_locks and pg_stat_activity tell whose it is",
    ),
    REFUSED: (
        "the database refuses to store its task",
        "see set_aside and the log for its error; it is tried again by itself",
    ),
    None: (
        "the tracker does not take them",
        "see the other reasons and the log; they are taken when its ticks succeed again",
    ),
}


@dataclass(frozen=True)
class OutboxState:
    """The outbox at the last look.

    - `rows`: how many rows wait; counted up to `outbox_rows.MAX_COUNTED`.
    - `oldest_at`: when the first of them was written; None if none waits.
    - `held_by`: why they wait: `backlog_full`, `no_version`, `database_away`, or None. It is
      `locked` or `refused` if the first one is locked by others, or refused by the database.
    - `set_aside`: how many the database refuses; they are tried again.
    """

    rows: int = 0
    oldest_at: float | None = None
    held_by: str | None = None
    set_aside: int = 0

    def seconds(self, now: float) -> float:
        """Return how long the oldest row has waited, in seconds; 0 if none waits."""
        return 0.0 if self.oldest_at is None else max(0.0, now - self.oldest_at)

    def document(self, now: float) -> dict[str, Any]:
        """Return the state for people."""
        return {
            "rows": self.rows,
            "oldest_seconds": round(self.seconds(now), 3),
            "held_by": self.held_by,
            "set_aside": self.set_aside,
        }


def outbox_reasons(state: OutboxState, now: float) -> list[HealthReason]:
    """Return the reason that the outbox stands still, if it does."""
    seconds = state.seconds(now)
    if not state.rows or seconds < STANDS_SECONDS:
        return []
    why, fix = _WHY[state.held_by]
    return [
        health_reason(
            "outbox_stands",
            f"{state.rows:,} committed tasks wait in the outbox, the oldest for {seconds:.0f} s: "
            f"{why}",
            fix,
            since=state.oldest_at,
            count=state.rows,
        )
    ]
