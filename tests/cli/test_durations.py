"""Durations for people, and the time that an attempt still takes."""

from datetime import UTC, datetime, timedelta

import pytest

from raytasks.cli.durations import (
    age,
    duration_text,
    exact_text,
    left_text,
    seconds_left,
    silence_text,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (60, "1 min"), (600, "10 min"),
        (3600, "1 h"), (7500, "2 h 5 min"), (86_400, "1 d"), (3 * 86_400 + 4 * 3600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_a_duration(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (1.5, "1.5 s"), (59.999, "59.999 s"), (60, "1 min"), (90, "1 min 30 s"),
        (7200.0, "2 h"), (93_601.25, "1 d 2 h 1.25 s"), (31_622_400.0, "366 d"),
    ],
)  # fmt: skip
def test_a_duration_that_was_set(seconds: float, text: str) -> None:
    assert exact_text(seconds) == text


@pytest.mark.parametrize(
    ("done", "fraction", "seconds", "silent", "left"),
    [
        (0.0, 0.5, 60.0, 0.0, 60.0),
        (0.0, 0.25, 60.0, 30.0, 150.0),
        (0.5, 0.75, 10.0, 0.0, 10.0),  # resumed from a checkpoint
        (0.0, 0.5, 60.0, 100.0, 0.0),  # it should have ended
        (0.0, 1.0, 60.0, 0.0, 0.0),
        (0.5, 0.5, 60.0, 0.0, None),
        (0.5, 0.4, 60.0, 0.0, None),
        (0.0, 0.5, 0.0, 0.0, None),
    ],
)
def test_how_much_is_left(
    done: float, fraction: float, seconds: float, silent: float, left: float | None
) -> None:
    assert seconds_left(done, fraction, seconds, silent) == left


def test_words() -> None:
    assert (left_text(None), left_text(150)) == ("", "about 2 min left")
    assert (silence_text(None), silence_text(59), silence_text(600)) == (
        "", "", "no sign of life for 10 min",
    )  # fmt: skip
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert age((now - timedelta(seconds=90)).isoformat(), now) == 90
    assert age(None) is None
