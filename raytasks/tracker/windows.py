"""Histograms of durations, and sums over moving windows of time, without state of the tracker.

Each bucket is a tenth wider than the one before, so a percentile is within 5 % of the exact one.
"""

import math
from typing import Any

import msgspec

SLOT_SECONDS = 5
DAY_STEP = 600
WINDOWS = {"minute": (SLOT_SECONDS, 60), "hour": (60, 3600), "day": (DAY_STEP, 86_400)}
"""Each window by name: its step and its length, in seconds."""

_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_SMALLEST = 0.0001
_RATIO = math.log(1.1)


Parts = tuple[int, int, dict[int, int], dict[int, int]]
"""A `Tally` as it is written: completed, failed, and the histograms of waits and runs."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(Parts).decode


def bucket(seconds: float) -> int:
    """Return the number of the bucket of a duration in seconds; 0: nearly zero."""
    return math.ceil(math.log(seconds / _SMALLEST) / _RATIO) if seconds > _SMALLEST else 0


def duration(number: int) -> float:
    """Return the duration in seconds that stands for a bucket: its middle."""
    return 0.0 if number == 0 else _SMALLEST * math.exp((number - 0.5) * _RATIO)


class Tally:
    """The numbers of completed and failed tasks, and histograms of the attempts' waits and runs."""

    __slots__ = ("completed", "failed", "runs", "waits")

    def __init__(
        self,
        completed: int = 0,
        failed: int = 0,
        waits: dict[int, int] | None = None,
        runs: dict[int, int] | None = None,
    ) -> None:
        self.completed = completed
        self.failed = failed
        self.waits: dict[int, int] = {} if waits is None else waits
        self.runs: dict[int, int] = {} if runs is None else runs

    def __bool__(self) -> bool:
        return bool(self.completed or self.failed or self.waits or self.runs)

    def add(self, other: "Tally", sign: int = 1) -> None:
        """Add another tally, or subtract it with `sign` -1."""
        self.completed += sign * other.completed
        self.failed += sign * other.failed
        for mine, others in ((self.waits, other.waits), (self.runs, other.runs)):
            for number, count in others.items():
                left = mine.get(number, 0) + sign * count
                if left:
                    mine[number] = left
                else:
                    mine.pop(number, None)

    def parts(self) -> list[Any]:
        """Return it in parts for JSON; `Tally(*parts)` restores it."""
        return [self.completed, self.failed, self.waits, self.runs]

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
    for name, quantile in _QUANTILES.items():
        left = math.ceil(quantile * total)
        for number, count in ordered:
            left -= count
            if left <= 0:
                found[name] = round(duration(number), 6)
                break
    return found


class Window:
    """The sum of the last `seconds`, in slots of `step` seconds; the newest slot is still open.

    The others are kept packed, in a tenth of the memory. Each is needed only once more, to be
    subtracted from the sum.
    """

    def __init__(self, step: int, seconds: int) -> None:
        self._step = step
        self._most = seconds // step
        self._slots: dict[int, bytes] = {}
        self._open = 0
        self._open_slot = Tally()
        self._moved_to = 0
        self.total = Tally()

    def add(self, at: float, tally: Tally) -> None:
        """Add what happened at a time."""
        number = int(at // self._step)
        if number <= self._moved_to - self._most:
            return
        self.total.add(tally)
        if number != self._open:
            self._pack_open()
            packed = self._slots.pop(number, None)
            self._open = number
            self._open_slot = Tally() if packed is None else Tally(*_unpack(packed))
        self._open_slot.add(tally)

    def absorb(self, other: "Window") -> None:
        """Add the content of another window of the same size."""
        other._pack_open()
        for number, packed in sorted(other._slots.items()):
            self.add(number * self._step, Tally(*_unpack(packed)))

    def move(self, now: float) -> None:
        """Drop the slots before the window."""
        number = int(now // self._step)
        if number != self._moved_to:
            self._moved_to = number
            if self._open_slot and self._open <= number - self._most:
                self._pack_open()
            old = [slot for slot in self._slots if slot <= number - self._most]
            for slot in old:
                packed = self._slots.pop(slot)
                if self._slots or self._open_slot:
                    self.total.add(Tally(*_unpack(packed)), -1)
            if not (self._slots or self._open_slot):
                self.total = Tally()

    def _pack_open(self) -> None:
        if self._open_slot:
            self._slots[self._open] = _pack(self._open_slot.parts())
            self._open_slot = Tally()


class Series:
    """The windows of one namespace and task type; `fresh` is not in them yet."""

    def __init__(self, now: float) -> None:
        self.fresh = Tally()
        self.windows = {name: Window(*size) for name, size in WINDOWS.items()}
        self.move(now)

    def add(self, at: float, tally: Tally) -> None:
        """Add what happened at a time."""
        for window in self.windows.values():
            window.add(at, tally)

    def absorb(self, other: "Series") -> None:
        """Add the content of another series, which is no longer used."""
        self.fresh.add(other.fresh)
        for name, window in self.windows.items():
            window.absorb(other.windows[name])

    def move(self, now: float) -> None:
        """Drop what is older than the windows."""
        for window in self.windows.values():
            window.move(now)

    @property
    def empty(self) -> bool:
        """Whether nothing has happened for a day."""
        return not (self.fresh or self.windows["day"].total)
