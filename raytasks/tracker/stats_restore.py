"""The restoring of statistics: rows become series, apart from those that a tracker counts in."""

from collections.abc import Iterable, Sequence

import msgspec

from raytasks.model.tallies import Tally
from raytasks.store.metric_rows import HistogramRow
from raytasks.store.stats_rows import MinuteRow, tallies_of
from raytasks.tracker.histograms import decoded
from raytasks.tracker.windows import DAY_STEP, Series

Pair = tuple[str, str]
"""Namespace and task type."""

WHOLE = "all"
"""The key in a row whose minute is over, instead of its slots."""

DAY_MINUTES = 1440
_HOUR_MINUTES = 61


class Restored:
    """The statistics of earlier trackers, as of `now` (seconds since the epoch of time).

    Any thread may fill it, while it is not shared. Rows come in the order of their minutes. The
    `backlogs` are how many tasks of a pair waited after its last row. No row from before the
    `next_minute` is kept as it is.
    """

    def __init__(self, now: float) -> None:
        self.now = now
        self.series: dict[Pair, Series] = {}
        self.recent: list[tuple[int, Pair, dict[str, Tally]]] = []
        self.backlogs: dict[Pair, int] = {}
        self.histograms: list[tuple[Pair, dict[str, tuple[float, list[int]]]]] = []
        self._coarse: dict[Pair, Tally] = {}  # of ten minutes; older rows need no finer steps
        self._block = 0
        self._this_minute = int(now // 60)
        self.next_minute = self.first_minute

    @property
    def first_minute(self) -> int:
        """The first minute that counts."""
        return self._this_minute - DAY_MINUTES

    def add(self, rows: Iterable[MinuteRow]) -> None:
        """Add rows. Those of the last two minutes are also kept as they are, as they may grow."""
        for minute, namespace, task_type, data in rows:
            pair = namespace, task_type
            slots = tallies_of(data)
            for tally in slots.values():
                if tally.backlog is not None:
                    self.backlogs[pair] = tally.backlog[1]
            if minute < self._this_minute - 1:
                self.next_minute = max(self.next_minute, minute + 1)
            if minute < self._this_minute - _HOUR_MINUTES:
                self._add_coarse(minute, pair, slots.values())
                continue
            self.finish()
            for offset, tally in slots.items():
                self._of(pair).add(minute * 60 + (0 if offset == WHOLE else int(offset)), tally)
            if minute >= self._this_minute - 1:
                self.recent.append((minute, pair, slots))

    def add_histograms(self, rows: Iterable[HistogramRow]) -> None:
        """Add all histograms."""
        self.histograms = decoded(rows)

    def finish(self) -> None:
        """Move the gathered coarse tallies into the series."""
        coarse, self._coarse = self._coarse, {}
        for pair, tally in coarse.items():
            self._of(pair).add(self._block * DAY_STEP, tally)

    def _add_coarse(self, minute: int, pair: Pair, tallies: Iterable[Tally]) -> None:
        block = minute * 60 // DAY_STEP
        if block != self._block:
            self.finish()
            self._block = block
        known = self._coarse.setdefault(pair, Tally())
        for tally in tallies:
            known.add(tally)

    def _of(self, pair: Pair) -> Series:
        known = self.series.get(pair)
        if known is None:
            known = self.series[pair] = Series(self.now)
        return known


def folded(rows: Sequence[MinuteRow], minute: int) -> list[MinuteRow]:
    """Return one row for each pair, at this minute, that replaces all of its rows."""
    sums: dict[Pair, Tally] = {}
    for _, namespace, task_type, data in rows:
        known = sums.setdefault((namespace, task_type), Tally())
        for tally in tallies_of(data).values():
            known.add(tally)
    return [
        MinuteRow(minute, *pair, msgspec.json.encode({WHOLE: tally}).decode())
        for pair, tally in sums.items()
    ]
