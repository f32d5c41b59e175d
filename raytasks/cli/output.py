"""Standard output of a command that goes on when nobody reads it any more."""

import os
import sys
from typing import IO, Any, cast


class _LastingOutput:
    """Standard output until it is gone: a terminal that was closed, or a pipe without a reader.

    Then the rest goes nowhere. Else the first line after that would end the service out of order.
    """

    def write(self, text: str) -> int:
        """Write a text, if there is somebody to read it."""
        try:
            return sys.stdout.write(text)
        except OSError:
            _give_up()
            return len(text)

    def flush(self) -> None:
        """Write what is kept back."""
        try:
            sys.stdout.flush()
        except OSError:
            _give_up()

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stdout, name)


def lasting_output() -> IO[str]:
    """Return a file that writes to standard output, and never raises `OSError`."""
    return cast("IO[str]", _LastingOutput())


def _give_up() -> None:
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - until the process ends
