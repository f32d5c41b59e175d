"""The times of schedules, against a table that is made in another way."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest

from raytasks.handling.schedule_times import (
    MAX_COUNTED,
    BadSchedule,
    Timing,
    check_timing,
    missed,
    next_time,
    times_after,
)

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # its summer time is half an hour
    "Asia/Kolkata",
    "America/Sao_Paulo",  # its spring has days without a midnight
]
BEGIN, END = datetime(2018, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=15)  # the offsets of all these zones are multiples of it

EXPRESSIONS = [
    "30 2 * * *",
    "0 2 * * *",
    "15 0 * * *",
    "0 0 1 * *",
    "45 1,2 * * *",
    "0,30 1-3 * * *",
    "0 9 * * MON-FRI",
    "30 1 1-7 * SUN",
    "0 * * * *",
    "*/15 1-3 * * *",
    "15 */4 * * *",
    "45 23 31 * *",
]
_NAMES = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


@cache
def numbers(field: str, low: int, high: int) -> set[int]:
    """The numbers that a field of cron names."""
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        if first == "*":
            begin, end = low, high
        else:
            begin, end = (_number(text) for text in (first, last or first))
        found.update(range(begin, end + 1, int(step or 1)))
    return found


def _number(text: str) -> int:
    return _NAMES.index(text) if text in _NAMES else int(text)


def matcher(expression: str) -> Callable[[datetime], bool]:
    """Return whether a time of the wall clock is one of the expression."""
    minute, hour, day, month, weekday = expression.split()
    minutes, hours = numbers(minute, 0, 59), numbers(hour, 0, 23)
    days, months, weekdays = numbers(day, 1, 31), numbers(month, 1, 12), numbers(weekday, 0, 6)
    both = day.startswith("*") or weekday.startswith("*")

    def matches(wall: datetime) -> bool:
        if wall.minute not in minutes or wall.hour not in hours or wall.month not in months:
            return False
        on_day, on_weekday = wall.day in days, wall.isoweekday() % 7 in weekdays
        return (on_day and on_weekday) if both else (on_day or on_weekday)

    return matches


@cache
def walls(zone: str) -> list[tuple[float, datetime, list[datetime]]]:
    """Each quarter of an hour of two years, what the wall clock shows, and what it has skipped."""
    at, found = BEGIN, []
    before: datetime | None = None
    while at < END:
        wall = at.astimezone(ZoneInfo(zone))
        naive = wall.replace(tzinfo=None, fold=0)
        skipped: list[datetime] = []
        gap = naive if before is None else before + STEP
        while gap < naive:
            skipped.append(gap)
            gap += STEP
        before = naive
        found.append((at.timestamp(), wall, skipped))
        at += STEP
    return found


@cache
def table(expression: str, zone: str) -> list[float]:
    """The times of two years: each quarter of an hour is looked at.

    A fixed time comes once a day: the first time that the clock shows it, or at the end of the gap.
    Others come whenever the clock shows them.
    """
    minute, hour, *_ = expression.split()
    is_fixed = not (minute.startswith("*") or hour.startswith("*"))
    matches, found = matcher(expression), []
    for at, wall, skipped in walls(zone):
        shows = matches(wall) and (not is_fixed or wall.fold == 0)
        if shows or (is_fixed and any(map(matches, skipped))):
            found.append(at)
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_times_of_two_years_are_those_of_a_table(expression: str, zone: str) -> None:
    timing = Timing(expression, None, zone)
    begin = BEGIN.timestamp() - 1
    expected = table(expression, zone)
    found = list(takewhile(lambda at: at < END.timestamp(), times_after(timing, begin)))
    assert found == expected
    assert len(expected) > 10
    # From any moment, the next time is the next one of the table: a tracker may begin at any.
    source = random.Random(f"{expression} {zone}")
    for _ in range(50):
        place = source.randrange(len(expected) - 1)
        for after in (
            expected[place],
            expected[place] + 0.5,
            source.uniform(expected[place], expected[place + 1] - 1),
        ):
            assert next_time(timing, after) == expected[place + 1]


@pytest.mark.parametrize("zone", ZONES)
def test_the_next_time_is_right_at_each_quarter_of_the_days_when_clocks_change(zone: str) -> None:
    offsets = [wall.utcoffset() for _, wall, _ in walls(zone)]
    changes = [place for place in range(1, len(offsets)) if offsets[place] != offsets[place - 1]]
    assert len(changes) == (0 if zone == "Asia/Kolkata" else 3 if "Sao" in zone else 4)
    for expression in EXPRESSIONS:
        timing = Timing(expression, None, zone)
        expected = table(expression, zone)
        for change in changes:
            for at, _, _ in walls(zone)[change - 12 : change + 12]:
                following = [time for time in expected if time > at]
                if following:  # else it is behind the end of the table
                    assert next_time(timing, at) == following[0]


def test_every_seconds_counts_from_its_anchor() -> None:
    timing = Timing(None, 0.1 + 59.9, "UTC", 1000.0)
    assert next_time(timing, 1000.0) == 1060.0
    assert next_time(timing, 1059.9) == 1060.0
    assert next_time(timing, 1060.0) == 1120.0
    assert next_time(timing, 1000.0 + 60.0 * 10**6) == 1060.0 + 60.0 * 10**6
    assert next_time(timing, 10.0) == 1060.0


@pytest.mark.parametrize("most", [1, 3, 100])
@pytest.mark.parametrize("hours", [0.5, 1, 5, 30, 400])
@pytest.mark.parametrize(
    "timing",
    [
        Timing("*/10 * * * *", None, "UTC"),
        Timing("30 2 * * *", None, "Europe/Berlin"),
        Timing("0,1,2 3 * * *", None, "UTC"),
        Timing(None, 600.0, "UTC", 7.0),
    ],
)
def test_missed_times_are_the_newest_ones(timing: Timing, hours: float, most: int) -> None:
    first = next_time(timing, 1_540_000_000.0)
    now = first + hours * 3600
    every = [first, *takewhile(lambda at: at <= now, times_after(timing, first))]
    found = missed(timing, first, now, most)
    assert found.newest == tuple(every[-most:])
    others = len(every) - len(found.newest)
    assert (found.others, found.many) == (min(others, MAX_COUNTED), others > MAX_COUNTED)
    assert found.following == next_time(timing, now)


def test_a_long_outage_takes_no_longer_than_its_newest_times() -> None:
    """Of three billion times; to look at each would take hours."""
    found = missed(Timing(None, 1.0, "UTC", 0.0), 1.0, 3e9, 5)
    assert found.newest == (3e9 - 4, 3e9 - 3, 3e9 - 2, 3e9 - 1, 3e9)
    assert found.many


@pytest.mark.parametrize(
    ("timing", "field", "message"),
    [
        (Timing("0 9 * *", None, "UTC"), "cron", "five fields"),
        (Timing("0 0 9 * * *", None, "UTC"), "cron", "five fields"),
        (Timing("61 9 * * *", None, "UTC"), "cron", "Bad minute"),
        (Timing("a b c d e", None, "UTC"), "cron", "no cron expression"),
        (Timing("0 0 30 2 *", None, "UTC"), "cron", "no cron expression"),
        (Timing("0 9 * * *", None, "Europe/Berln"), "timezone", "there is no time zone"),
        (Timing("0 9 * * *", None, "../etc/passwd"), "timezone", "there is no time zone"),
        (Timing("0 9 * * *", None, ""), "timezone", "there is no time zone"),
        (Timing(None, 60.0, "Nowhere"), "timezone", "there is no time zone"),
    ],
)
def test_a_timing_without_times_is_refused(timing: Timing, field: str, message: str) -> None:
    with pytest.raises(BadSchedule, match=message) as caught:
        check_timing(timing, 1_540_000_000.0)
    assert caught.value.field == field
