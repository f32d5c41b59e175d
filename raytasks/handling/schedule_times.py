"""The times of schedules: pure functions of a schedule and a time.

A cron expression is read as Debian's cron does. A time that the clock skips in spring comes at the
end of the gap. A time that it shows twice in autumn comes once, the first time. Expressions whose
minutes or hours are `*` follow the clock's real time instead.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from raytasks.model.lines import named_line

MAX_COUNTED = 1000
"""Maximum number of missed times that are counted; beyond it they are only "many"."""

_FIELDS = 5
_FIRST_WINDOW = 60.0
_LOOK_SECONDS = 43_200  # no clock changes twice in so short a time


class BadSchedule(ValueError):
    """A schedule that has no times. `field` names what is wrong; the text says the fix."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class Timing(NamedTuple):
    """The rule by which a schedule has its times.

    `anchor_at` is from when `every_seconds` count, in seconds since the epoch.
    """

    cron: str | None
    every_seconds: float | None
    timezone: str
    anchor_at: float = 0.0


class Missed(NamedTuple):
    """The times that have come: the newest ones in order, and how many others were before them.

    With `many`, there are more others than that. The next time to come is `following`.
    """

    newest: tuple[float, ...]
    others: int
    many: bool
    following: float


def check_timing(timing: Timing, now: float) -> None:
    """Refuse a timing that has no times. Raises `BadSchedule`."""
    _zone(timing.timezone)
    if timing.cron is None:
        return
    if len(timing.cron.split()) != _FIELDS:
        raise BadSchedule(
            "cron", "must have five fields: minute, hour, day, month, weekday, as in 0 9 * * *"
        )
    next_time(timing, now)


def fault_text(error: Exception) -> str:
    """Return why a schedule cannot be computed, in one line; it begins with the field at fault."""
    return f"{error.field}: {error}" if isinstance(error, BadSchedule) else named_line(error)


def next_time(timing: Timing, after: float) -> float:
    """Return the first time after `after`. Raises `BadSchedule` if there is none."""
    try:
        found = next(times_after(timing, after), None)
    except CronSimError as error:
        raise BadSchedule(
            "cron", f"is no cron expression: {error}; write it as in 0 9 * * MON-FRI"
        ) from None
    if found is None:
        raise BadSchedule("cron", "has no time in the next 50 years")
    return found


def times_after(timing: Timing, after: float) -> Iterator[float]:
    """Yield the times after `after`, in order; without end, unless the expression never matches.

    Raises `BadSchedule`, `CronSimError`.
    """
    if timing.cron is None:
        assert timing.every_seconds is not None
        number = max(1, math.floor((after - timing.anchor_at) / timing.every_seconds))
        while True:
            at = timing.anchor_at + number * timing.every_seconds
            if at > after:
                yield at
            number += 1
    zone = _zone(timing.timezone)
    minute, hour, *_ = timing.cron.split()
    if minute.startswith("*") or hour.startswith("*"):
        yield from _real_times(timing.cron, zone, after)
        return
    start = datetime.fromtimestamp(math.floor(after), UTC).astimezone(zone)
    # In the hour that an autumn day has twice, it may begin with a time that is over.
    for found in CronSim(timing.cron, start):
        at = found.timestamp()
        if at > after:
            yield at
            after = at


def _zone(name: str) -> ZoneInfo:
    """Return a time zone by its name. Raises `BadSchedule` if this machine does not know it."""
    try:
        return ZoneInfo(name)
    except Exception:
        raise BadSchedule(
            "timezone", f"there is no time zone {name!r}; give one as in Europe/Berlin"
        ) from None


def _real_times(cron: str, zone: ZoneInfo, after: float) -> Iterator[float]:
    """Yield the times of an expression that follows the clock's real time.

    Between two changes of the clock, its wall time is UTC with an offset. Each such span is
    searched by itself. The reason: `CronSim` with a time zone goes on by whole hours. It leaves out
    times where the clock changes by half an hour.
    """
    begin = math.floor(after)
    offset = _offset(zone, begin)
    while True:
        change = None
        for found in CronSim(cron, datetime.fromtimestamp(begin + offset, UTC)):
            at = int(found.timestamp()) - offset
            change = _first_change(zone, begin + 1, at, offset)
            if change is not None:
                break
            yield float(at)
            begin = at
        if change is None:
            return
        begin, offset = change - 1, _offset(zone, change)


def _offset(zone: ZoneInfo, at: int) -> int:
    """Return the seconds by which the zone's clock is ahead of UTC."""
    offset = datetime.fromtimestamp(at, zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def _first_change(zone: ZoneInfo, begin: int, until: int, offset: int) -> int | None:
    """Return when the offset changes first, from `begin` to `until`; None if it does not."""
    same, other = begin, begin
    while _offset(zone, other) == offset:
        if other == until:
            return None
        same, other = other, min(other + _LOOK_SECONDS, until)
    while other - same > 1:
        middle = (same + other) // 2
        if _offset(zone, middle) == offset:
            same = middle
        else:
            other = middle
    return other


def missed(timing: Timing, first: float, now: float, most: int) -> Missed:
    """Return the times from `first`, which is one, until `now`: at most the newest `most`.

    It takes about as long as the number of times that it returns and counts, however long ago the
    first one was.
    """
    following = next_time(timing, first)
    if following > now:
        return Missed((first,), 0, many=False, following=following)
    following = next_time(timing, now)
    seconds = _FIRST_WINDOW
    while True:
        begin = now - seconds
        found = _between(timing, max(begin, first), now)
        if begin < first:
            found = [first, *found]
            others = max(0, len(found) - most)
            return Missed(tuple(found[-most:]), others, many=False, following=following)
        if len(found) >= most:
            break
        seconds *= 2
    newest = tuple(found[-most:])
    others = 1
    for at in times_after(timing, first):
        if at >= newest[0] or others > MAX_COUNTED:
            break
        others += 1
    return Missed(newest, min(others, MAX_COUNTED), many=others > MAX_COUNTED, following=following)


def _between(timing: Timing, after: float, until: float) -> list[float]:
    found = []
    for at in times_after(timing, after):
        if at > until:
            break
        found.append(at)
    return found
