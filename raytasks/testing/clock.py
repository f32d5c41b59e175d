"""A clock that stands still until a test moves it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

START = 1_767_225_600.0
"""When a test begins, unless it says otherwise: 2026-01-01T00:00:00Z."""


class FakeClock:
    """Call it for the time, in seconds since the epoch; `advance` moves it on.

    `now` is when it begins: seconds since the epoch, or a `datetime` with a time zone.
    """

    def __init__(self, now: float | datetime = START) -> None:
        self.now = now.timestamp() if isinstance(now, datetime) else now
        self._watchers: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Let `seconds` pass, and return the new time. Nothing is run by it.

        Within a handler it ends the attempt, as in a runner, once that should have stopped by its
        timeout, or by a cancel, more than a second ago.
        """
        return self.move_to(self.now + seconds)

    def move_to(self, now: float) -> float:
        """Set the time, in seconds since the epoch, and return it. Nothing is run by it."""
        self.now = now
        for look in list(self._watchers):
            look()
        return now

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass: what a test can put in the place of `time.sleep`."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.advance(seconds)

    @contextmanager
    def watched(self, look: Callable[[], None]) -> Iterator[None]:
        """Call `look` at each move of the clock, until the block ends."""
        self._watchers.append(look)
        try:
            yield
        finally:
            self._watchers.remove(look)
