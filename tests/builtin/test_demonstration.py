"""The demonstration delays, and the settings that the handlers read."""

import time

import pytest

from raytasks import Cancelled, Context
from raytasks.builtin._demonstration import demonstration_delay
from raytasks.builtin._settings import SettingError, flag, number
from raytasks.handling.context import LocalChannel


def test_no_delay_by_default() -> None:
    started = time.monotonic()
    demonstration_delay(Context("1", "test"), 60)
    assert time.monotonic() - started < 1


def test_a_delay_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_DELAYS", "true")
    started = time.monotonic()
    demonstration_delay(Context("1", "test"), 0.12)
    assert time.monotonic() - started >= 0.12


def test_a_delay_ends_when_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    class SecondThoughts(LocalChannel):
        asked = 0

        def cancelled(self) -> bool:
            self.asked += 1
            return self.asked > 3

    monkeypatch.setenv("DEMO_DELAYS", "TRUE")
    started = time.monotonic()
    with pytest.raises(Cancelled):
        demonstration_delay(Context("1", "test", channel=SecondThoughts()), 60)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), (" Yes ", True), ("1", True), ("off", False), ("", False)],
)
def test_flags(monkeypatch: pytest.MonkeyPatch, value: str, expected: bool) -> None:
    monkeypatch.setenv("DEMO_DELAYS", value)
    assert flag("DEMO_DELAYS") is expected


def test_settings_that_make_no_sense_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMO_DELAYS", "maybe")
    with pytest.raises(SettingError, match="DEMO_DELAYS must be true or false, not 'maybe'"):
        flag("DEMO_DELAYS")
    for value in ("-1", "nan", "inf", "0", "ten"):
        monkeypatch.setenv("IMAGE_MAX_BYTES", value)
        with pytest.raises(SettingError, match="IMAGE_MAX_BYTES must be a number above 0"):
            number("IMAGE_MAX_BYTES", 5)
    monkeypatch.setenv("IMAGE_MAX_BYTES", "1e6")
    assert number("IMAGE_MAX_BYTES", 5) == 1_000_000
    monkeypatch.setenv("IMAGE_MAX_BYTES", "")
    assert number("IMAGE_MAX_BYTES", 5) == 5
