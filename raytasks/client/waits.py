"""Waits of the client for the end of something: their deadline, and the error when it is over."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx

from raytasks.client.answers import error_of, is_temporary, unavailable
from raytasks.client.api_errors import BadArgument, WaitTimeout
from raytasks.client.requests import Call

GRACE_SECONDS = 1.0
"""How much longer than a wait its last answer may take, in seconds: it has to arrive."""


class BoundedWait:
    """A wait for at most some seconds; None is for ever. `document` is what was seen last.

    At first the document has only the name of what is waited for. The seconds are those of `clock`.
    """

    def __init__(
        self, document: Mapping[str, Any], seconds: float | None, clock: Callable[[], float]
    ) -> None:
        self.document = document
        self.answered = False
        self._seconds = checked_wait(seconds)
        self._clock = clock
        self._end = clock() + self._seconds

    @property
    def left(self) -> float:
        """How many seconds are left; infinity for a wait without an end."""
        return max(self._end - self._clock(), 0.0)

    def bounded(self, call: Call) -> Call:
        """Return a call whose answer is waited for no longer than this wait, and a little."""
        return replace(call, max_seconds=self.left + GRACE_SECONDS)

    def saw(self, document: Mapping[str, Any]) -> None:
        """Record what was seen."""
        self.document, self.answered = document, True

    def check(self) -> None:
        """Raise `WaitTimeout` if the time is up."""
        if not self.left:
            raise WaitTimeout(self.document, self._seconds)

    def check_answer(
        self, call: Call, answer: httpx.Response | httpx.RequestError, url: str
    ) -> None:
        """Raise `WaitTimeout` if the time is up, and an answer was only that of an outage.

        A service that cannot be reached at all, and never was, is another error.
        """
        if self.left:
            return
        if isinstance(answer, httpx.Response):
            if is_temporary(call, answer):
                raise WaitTimeout(self.document, self._seconds) from error_of(answer, url)
        elif self.answered or not isinstance(answer, httpx.ConnectError):
            raise WaitTimeout(self.document, self._seconds) from unavailable(url, answer)


def checked_wait(seconds: float | None) -> float:
    """Return how many seconds a wait may take, infinity for None. Raises `BadArgument`."""
    if seconds is None:
        return math.inf
    if not _is_number(seconds) or math.isnan(seconds):
        raise BadArgument(f"{seconds!r} is no time to wait: give a number of seconds, or None")
    return seconds


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
