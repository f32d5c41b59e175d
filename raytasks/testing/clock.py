"""A clock that stands still until a test moves it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

START = 1_767_225_600.0
"""The default start of a test: 2026-01-01T00:00:00Z, in seconds since the epoch."""


MAX_SECONDS = 30 * 86_400.0
"""How long a wait without an end may take on the clock of a test."""


class FakeClock:
    """A clock for tests: call it for the time, in seconds since the epoch. `advance` moves it.

    `now` is its start: seconds since the epoch, or a `datetime` with a time zone.
    """

    def __init__(self, now: float | datetime = START) -> None:
        self.now = now.timestamp() if isinstance(now, datetime) else now
        self._watchers: list[Callable[[], None]] = []

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> float:
        """Let `seconds` pass, and return the new time. No task runs because of it.

        Within a handler it may end the attempt, as a runner does. This happens more than a second
        after the attempt's timeout, or after a cancel.
        """
        return self.move_to(self.now + seconds)

    def move_to(self, now: float) -> float:
        """Set the time, in seconds since the epoch, and return it.

        No task runs because of it.
        """
        self.now = now
        for look in list(self._watchers):
            look()
        return now

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass. A test can replace `time.sleep` by this."""
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
