"""How long the service took to recover from each fault: told at the end of the tests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

TIMES: dict[str, float] = {}
"""Seconds, by what was done to the service."""


@contextmanager
def recovering(fault: str) -> Iterator[None]:
    """Measure how long the block takes: from the fault until the work is done again."""
    began = time.monotonic()
    yield
    TIMES[fault] = time.monotonic() - began


def table() -> list[str]:
    """Return the times as lines of a Markdown table."""
    rows = [f"| {fault} | {seconds:.1f} s |" for fault, seconds in TIMES.items()]
    return ["| fault | recovered after |", "|---|---|", *rows]
