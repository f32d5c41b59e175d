"""The results of a measurement, their little mathematics, and the processor time of a process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import psutil

Numbers = dict[str, float]
"""Measured numbers by name, such as `sqlite.drain.per_second`."""

Curve = list[tuple[float, float]]
"""Latencies as points: (share of the requests, milliseconds that this share did not exceed)."""

_SHARES = (*(n / 100 for n in range(1, 100)), 0.995, 0.998, 0.999)


@dataclass
class Result:
    """The numbers of one scenario, and the curves that its pictures are made of."""

    numbers: Numbers
    curves: dict[str, Curve] = field(default_factory=dict)

    def add(self, other: "Result", prefix: str = "") -> None:
        """Take over what another result says, with a prefix before its names."""
        self.numbers |= {f"{prefix}{name}": value for name, value in other.numbers.items()}
        self.curves |= {f"{prefix}{name}": curve for name, curve in other.curves.items()}


@dataclass(frozen=True)
class Summary:
    """One number over all rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def spread(self) -> float:
        """How far the rounds lie apart, as a share of their median."""
        return (self.high - self.low) / abs(self.median) if self.median else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` of the values do not exceed, between the two nearest ones."""
    if not values:
        raise ValueError("there are no values")
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def curve(seconds: Sequence[float]) -> Curve:
    """Return the curve of some latencies."""
    ordered = sorted(seconds)
    return [(share, 1000 * percentile(ordered, share)) for share in _SHARES]


def summarize(values: Sequence[float]) -> Summary:
    """Sum up what the rounds gave."""
    return Summary(median(values), min(values), max(values), len(values))


def summaries(rounds: Sequence[Mapping[str, float]]) -> dict[str, Summary]:
    """Sum up each number over the rounds that have it, in the order in which they first came."""
    names = dict.fromkeys(name for numbers in rounds for name in numbers)
    return {
        name: summarize([numbers[name] for numbers in rounds if name in numbers]) for name in names
    }


def processor_seconds(process: psutil.Process) -> float:
    """Return the seconds of a processor that a process has used."""
    times = process.cpu_times()
    return times.user + times.system
