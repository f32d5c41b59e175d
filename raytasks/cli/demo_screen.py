"""The screen of `raytasks demo --break`: the numbers live, with what happens above them."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raytasks.cli import tables

_LINE_SECONDS = 1.0
"""Seconds between two lines of numbers, where there is no terminal."""

_BAR_WIDTH = 40
_WITH_BAR = ("accepted", "completed")
_COLORS = {"completed": "green", "run twice": "yellow", "lost": "red"}


def numbers_line(numbers: Mapping[str, int]) -> str:
    """Return numbers with their names in one line."""
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


class DemoScreen:
    """Shows numbers out of a total until its block ends: live in a terminal, else as lines.

    The function `numbers` returns them as they are now, by name.
    """

    def __init__(self, total: int, numbers: Callable[[], Mapping[str, int]]) -> None:
        self._total = total
        self._numbers = numbers
        self._began = self._told_at = time.monotonic()
        self._live: Live | None = None
        if tables.console.is_terminal:
            self._live = Live(self._table(), console=tables.console, auto_refresh=False)

    def __enter__(self) -> "DemoScreen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
            self._live.stop()

    def update(self) -> None:
        """Show the numbers as they are now."""
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        elif time.monotonic() - self._told_at >= _LINE_SECONDS:
            self._told_at = time.monotonic()
            self.say(numbers_line(self._numbers()))

    def say(self, text: str) -> None:
        """Print a line with the seconds since the beginning."""
        seconds = time.monotonic() - self._began
        tables.console.print(f"{seconds:5.1f} s  {text}", soft_wrap=True)

    def _table(self) -> Table:
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column()
        table.add_column(justify="right", min_width=len(f"{self._total:,}"))
        table.add_column()
        for name, number in self._numbers().items():
            color = _COLORS.get(name, "") if number else ""
            bar = ProgressBar(total=self._total, completed=number, width=_BAR_WIDTH)
            shown = bar if name in _WITH_BAR else ""
            table.add_row(name, Text(f"{number:,}", style=color), shown)
        return table
