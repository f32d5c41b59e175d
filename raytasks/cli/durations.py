"""Durations for people: how long something took, will take, or has been silent."""

import math
import re
from datetime import UTC, datetime

from raytasks.cli.options import UsageError

SILENT_SECONDS = 60.0
"""After how many seconds without a sign of life that is shown."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNITS = {"s": 1, "m": _MINUTE, "min": _MINUTE, "h": _HOUR, "d": _DAY}
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_DURATION = re.compile(rf"({_NUMBER.pattern}) ?(s|min|m|h|d)?")


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


def exact_text(seconds: float) -> str:
    """Return a duration in full, as it was set: `90` is `1 min 30 s`, `1.5` is `1.5 s`."""
    parts, left = [], round(seconds, 3)
    for unit, size in (("d", _DAY), ("h", _HOUR), ("min", _MINUTE)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:.0f} {unit}")
    if left or not parts:
        parts.append(f"{round(left, 3):g} s")
    return " ".join(parts)


def seconds_of(text: str, option: str) -> float:
    """Return a duration that a person gives: `90`, `90s`, `10m`, `1.5h`, `2d`. Without a unit: s.

    Raises `UsageError` with the name of the option.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not (seconds := float(found[1]) * _UNITS[found[2] or "s"]):
        raise UsageError(f"{option}: {text!r} is no duration; write it as 90s, 10m, 2h or 1d")
    return seconds


def rate_of(text: str, option: str) -> tuple[float, float]:
    """Return a rate that a person gives as number and seconds: `500/60s`, `5/s`, `1000/h`, `8`.

    Raises `UsageError` with the name of the option.
    """
    number, slash, period = text.strip().partition("/")
    if not _NUMBER.fullmatch(number) or (slash and not period):
        raise UsageError(
            f"{option}: {text!r} is no rate; write how many in how long, as 500/60s or 5/s"
        )
    if not slash:
        return float(number), 1.0
    whole = f"1{period}" if period in _UNITS else period
    return float(number), seconds_of(whole, option)


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
