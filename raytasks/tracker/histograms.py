"""The histograms of the metrics: how long tasks waited and ran since ever, by namespace and type.

What is shown is only what is on disk. So nothing that was shown once is ever less, not even after
the tracker was killed.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping

from msgspec import MsgspecError, json

from raytasks.protocol.metrics_data import Durations
from raytasks.store.metric_rows import HistogramRow

WAIT, RUN = "wait", "run"
TICK, COMMIT = "tick", "commit"

_OF_TASKS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0,
    1800.0, 3600.0,
)  # fmt: skip
_OF_TICKS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
)  # fmt: skip

BOUNDS: Mapping[str, tuple[float, ...]] = {
    WAIT: _OF_TASKS,
    RUN: _OF_TASKS,
    TICK: _OF_TICKS,
    COMMIT: _OF_TICKS,
}
"""The upper bounds of the buckets in seconds, by the histogram's name; one more has no bound."""

MAX_PAIRS = 1000
"""Maximum number of pairs of namespace and task type with histograms of their own."""

MAX_ROWS = 250
"""Maximum number of rows written in one transaction; the others follow soon."""

Pair = tuple[str, str]
"""Namespace and task type."""

OTHER: Pair = ("other", "other")
"""The pair that stands for all that have no place of their own."""

SERVICE: Pair = ("", "")
"""The pair of the tracker itself. No namespace has this name."""

_decode = json.Decoder(dict[str, tuple[float, list[int]]]).decode
_Shown = dict[str, tuple[float, list[int]]]


class Histogram:
    """The numbers of durations by bucket, and their exact sum in seconds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, name: str) -> None:
        self.bounds = BOUNDS[name]
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Add a duration. One below zero, by a clock that was set back, counts as zero."""
        seconds = max(0.0, seconds)
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum += seconds

    def add(self, total: float, counts: Iterable[int]) -> None:
        """Add another histogram with the same buckets."""
        self.sum += total
        self.counts = [mine + more for mine, more in zip(self.counts, counts, strict=True)]


class Histograms:
    """The histograms of all pairs, with what of them is on disk.

    At most `MAX_PAIRS` pairs have their own, those that came first; the others share `OTHER`. A
    pair keeps its place for ever, as its row on disk is its place.
    """

    def __init__(self) -> None:
        self._fresh: dict[Pair, dict[str, Histogram]] = {}  # not in `_all` yet
        self._all: dict[Pair, dict[str, Histogram]] = {}
        self._changed: set[Pair] = set()
        self._unconfirmed: dict[Pair, _Shown] = {}
        self._saved: dict[Pair, _Shown] = {}
        self._restored = False

    def observe(self, pair: Pair, name: str, seconds: float) -> None:
        """Add a duration in seconds to a histogram of a pair."""
        known = self._fresh.get(pair)
        if known is None:
            known = self._fresh[pair] = {}
        histogram = known.get(name)
        if histogram is None:
            histogram = known[name] = Histogram(name)
        histogram.observe(seconds)

    def admit(self, pairs: Iterable[Pair]) -> None:
        """Give a place of their own to pairs, as long as there are any."""
        if self._restored:
            for pair in pairs:
                self._place(pair)

    def place(self, pair: Pair) -> Pair:
        """Return the pair under which a pair is shown: itself, or `OTHER`."""
        return pair if pair in self._all else OTHER

    @property
    def is_new(self) -> bool:
        """Whether something is not on disk yet."""
        return bool(self._fresh or self._changed or self._unconfirmed)

    def to_write(self) -> list[HistogramRow]:
        """Return rows to be written; call `written` once they are on disk.

        A repeated row does no harm: each row is the whole of its pair.
        """
        self._gather()
        self._changed |= self._unconfirmed.keys()
        pairs = sorted(self._changed)[:MAX_ROWS]
        self._changed -= {*pairs}
        self._unconfirmed = {
            pair: {name: (item.sum, list(item.counts)) for name, item in self._all[pair].items()}
            for pair in pairs
        }
        return [
            HistogramRow(*pair, json.encode(shown).decode())
            for pair, shown in self._unconfirmed.items()
        ]

    @property
    def more(self) -> bool:
        """Whether `to_write` has left rows for the next time."""
        return bool(self._changed)

    def written(self) -> None:
        """Record that the rows last returned by `to_write` are on disk."""
        self._saved |= self._unconfirmed
        self._unconfirmed = {}

    def restore(self, rows: Iterable[tuple[Pair, _Shown]]) -> None:
        """Adopt what earlier trackers have written; once, and before anything is written."""
        for pair, shown in rows:
            self._all[pair] = known = {}
            self._saved[pair] = shown
            for name, (total, counts) in shown.items():
                known[name] = Histogram(name)
                known[name].add(total, counts)
        self._restored = True

    def view(self) -> list[Durations]:
        """Return what is on disk. A pair with a place but nothing on disk has empty histograms."""
        empty: dict[str, tuple[float, list[int]]] = {
            name: (0.0, [0] * (len(BOUNDS[name]) + 1)) for name in BOUNDS
        }
        found = []
        for pair in [SERVICE, *(pair for pair in self._all if pair != SERVICE)]:
            shown = self._saved.get(pair, {})
            for name in (TICK, COMMIT) if pair == SERVICE else (WAIT, RUN):
                total, counts = shown.get(name, empty[name])
                found.append(Durations(name, *pair, counts, total))
        return found

    def _place(self, pair: Pair) -> Pair:
        if pair in self._all:
            return pair
        taken = len(self._all.keys() - {SERVICE, OTHER})
        if taken >= MAX_PAIRS and pair not in (SERVICE, OTHER):
            return self._place(OTHER)
        self._all[pair] = {}
        self._changed.add(pair)
        return pair

    def _gather(self) -> None:
        if not self._restored:
            return
        fresh, self._fresh = self._fresh, {}
        for pair, histograms in fresh.items():
            place = self._place(pair)
            known = self._all[place]
            for name, histogram in histograms.items():
                if name not in known:
                    known[name] = Histogram(name)
                known[name].add(histogram.sum, histogram.counts)
            self._changed.add(place)


def decoded(rows: Iterable[HistogramRow]) -> list[tuple[Pair, _Shown]]:
    """Return the histograms of rows. One with other buckets than ours is left out."""
    return [((namespace, task_type), _read(data)) for namespace, task_type, data in rows]


def _read(data: str) -> _Shown:
    try:
        found = _decode(data)
    except MsgspecError:
        return {}
    return {
        name: shown
        for name, shown in found.items()
        if name in BOUNDS and len(shown[1]) == len(BOUNDS[name]) + 1 and math.isfinite(shown[0])
    }
