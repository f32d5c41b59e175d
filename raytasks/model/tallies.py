"""Tallies: how many tasks were submitted and ended, how long they waited and ran, as statistics.

Each bucket of durations is a tenth wider than the one before, so a percentile is within 5 % of the
exact one.
"""

import math
from typing import Any

from msgspec import Struct

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_SMALLEST = 0.0001
_RATIO = math.log(1.1)


def bucket(seconds: float) -> int:
    """Return the number of the bucket of a duration in seconds; 0: nearly zero."""
    return math.ceil(math.log(seconds / _SMALLEST) / _RATIO) if seconds > _SMALLEST else 0


def duration(number: int) -> float:
    """Return the duration in seconds that stands for a bucket: its middle."""
    return 0.0 if number == 0 else _SMALLEST * math.exp((number - 0.5) * _RATIO)


Change = tuple[int, int]
"""How many there were before and after."""


def joined(first: Change | None, second: Change | None) -> Change | None:
    """Return two changes, one after the other, as one; None is one that nobody has counted."""
    if first is None or second is None:
        return first or second
    return first[0], second[1]


class Tally(Struct, array_like=True):
    """The statistics of some time, of one namespace and task type or of many.

    - `completed`, `failed`, `submitted`: numbers of tasks.
    - `waits`, `runs`: histograms of attempts, the number of them by bucket.
    - `backlog`: how many tasks waited before and after; None if nobody has counted. Only where
      tallies are added in the order of time, it holds for their sum.

    It is kept on disk as an array in this order. Fields may be added at its end.
    """

    completed: int = 0
    failed: int = 0
    waits: dict[int, int] = {}
    runs: dict[int, int] = {}
    submitted: int = 0
    backlog: Change | None = None

    def __bool__(self) -> bool:
        return bool(self.completed or self.failed or self.waits or self.runs or self.submitted)

    def add(self, other: "Tally", sign: int = 1) -> None:
        """Add another tally, or subtract it with `sign` -1."""
        self.completed += sign * other.completed
        self.failed += sign * other.failed
        self.submitted += sign * other.submitted
        if sign > 0:
            self.backlog = joined(self.backlog, other.backlog)
        for mine, others in ((self.waits, other.waits), (self.runs, other.runs)):
            for number, count in others.items():
                left = mine.get(number, 0) + sign * count
                if left:
                    mine[number] = left
                else:
                    mine.pop(number, None)

    def view(self, seconds: int) -> dict[str, Any]:
        """Return what `/stats` shows of it, as of a window of `seconds`."""
        ended = self.completed + self.failed
        return {
            "seconds": seconds,
            "completed": self.completed,
            "failed": self.failed,
            "failure_rate": self.failed / ended if ended else None,
            "per_second": ended / seconds,
            "queue_wait": percentiles(self.waits),
            "run_time": percentiles(self.runs),
        }


def percentiles(histogram: dict[int, int]) -> dict[str, float] | None:
    """Return the percentiles of the durations in a histogram, in seconds; None if it is empty."""
    total = sum(histogram.values())
    if not total:
        return None
    ordered = sorted(histogram.items())
    found = {}
    for name, quantile in QUANTILES.items():
        left = math.ceil(quantile * total)
        for number, count in ordered:
            left -= count
            if left <= 0:
                found[name] = round(duration(number), 6)
                break
    return found
