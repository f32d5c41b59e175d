"""Durations for people: how long something took, will take, or has been silent."""

import math
from datetime import UTC, datetime

SILENT_SECONDS = 60.0
"""After how many seconds without a sign of life that is shown."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def duration_text(seconds: float) -> str:
    """Return a duration, rounded: `42 s`, `3 min`, `2 h 5 min`, `3 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{round(whole / _MINUTE)} min"
    if whole < _DAY:
        return _two(whole, _HOUR, "h", _MINUTE, "min")
    return _two(whole, _DAY, "d", _HOUR, "h")


def left_text(seconds: float | None) -> str:
    """Return how long it will still take, or nothing if that is unknown."""
    return "" if seconds is None else f"about {duration_text(seconds)} left"


def silence_text(seconds: float | None) -> str:
    """Return for how long there was no sign of life, or nothing while that is short."""
    if seconds is None or seconds < SILENT_SECONDS:
        return ""
    return f"no sign of life for {duration_text(seconds)}"


def seconds_left(done: float, fraction: float, seconds: float, silent: float) -> float | None:
    """Return how many more seconds an attempt takes at its present rate; None if unknown.

    It came from `done` to `fraction` in `seconds`, and that was `silent` seconds ago.
    """
    if not 0 <= done < fraction <= 1 or seconds <= 0:
        return None
    left = (1 - fraction) * seconds / (fraction - done) - silent
    return max(0.0, left) if math.isfinite(left) else None


def age(moment: str | None, now: datetime | None = None) -> float | None:
    """Return how many seconds ago a time (RFC 3339) was; None without one."""
    if not moment:
        return None
    return ((now or datetime.now(UTC)) - datetime.fromisoformat(moment)).total_seconds()


def _two(seconds: int, large: int, name: str, small: int, small_name: str) -> str:
    whole, rest = divmod(seconds, large)
    parts = rest // small
    return f"{whole} {name}" + (f" {parts} {small_name}" if parts else "")
