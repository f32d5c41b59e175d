"""The screen of `raytasks demo --break`, with a terminal and without one."""

import io

import pytest
from rich.console import Console

from raytasks.cli import demo_screen, tables
from raytasks.cli.demo_screen import DemoScreen

NUMBERS = {"accepted": 1000, "completed": 12, "run twice": 2, "lost": 0}


def screen_of(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> str:
    """Return what is shown where numbers change once."""
    console = Console(
        file=io.StringIO(), force_terminal=terminal, width=80, color_system=None, markup=False
    )
    monkeypatch.setattr(tables, "console", console)
    numbers = dict(NUMBERS, accepted=7)
    with DemoScreen(1000, lambda: numbers) as screen:
        screen.update()
        screen.say("the runner is [gone]")
        numbers.update(NUMBERS)
        screen.update()
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_in_a_terminal_the_numbers_stay_in_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = screen_of(monkeypatch, terminal=True).splitlines()
    places = {line.index("━") for line in lines if "━" in line}
    assert len(places) == 1
    assert any("accepted   1,000  ━" in line for line in lines), lines
    assert any(line.endswith("the runner is [gone]") for line in lines)


def test_without_a_terminal_they_are_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_screen, "_LINE_SECONDS", 0.0)
    lines = screen_of(monkeypatch, terminal=False).splitlines()
    assert [line.partition(" s  ")[2] for line in lines] == [
        "accepted 7, completed 12, run twice 2, lost 0",
        "the runner is [gone]",
        "accepted 1,000, completed 12, run twice 2, lost 0",
    ]
