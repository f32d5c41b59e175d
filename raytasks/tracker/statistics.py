"""The statistics: how many tasks end, and how long they wait and run, by minute, hour and day.

They are in memory, by namespace and task type. Every few seconds a tick writes what is new into the
database; the next tracker reads it back.
"""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from raytasks.model.states import WAITING, OutcomeKind, State
from raytasks.model.tallies import Tally, bucket
from raytasks.model.task_filter import is_reserved
from raytasks.model.tasks import Running, StoreUnavailable
from raytasks.protocol.messages import Outcome
from raytasks.store.count_changes import SUBMITTED, Counted, Total
from raytasks.store.stats_rows import MinuteRow, StatsWrite
from raytasks.tracker.histograms import RUN, WAIT, Histograms
from raytasks.tracker.minute_rows import MinuteRows
from raytasks.tracker.stats_restore import DAY_MINUTES, Restored
from raytasks.tracker.windows import SLOT_SECONDS, WINDOWS, Series

log = logging.getLogger(__name__)

WRITE_SECONDS = 5.0
"""Minimum seconds between two writes; what is newer is lost when the tracker is killed."""

MAX_SERIES = 1000
"""Maximum number of pairs of namespace and task type with statistics."""

KEPT_MINUTES = 25 * 60
"""Minutes of statistics that stay in the database."""

_SOON_SECONDS = 0.2
_CHECKED = 100  # pairs that one call checks for being empty
_ADOPTED = 20  # pairs adopted in one step
_TIMED = (OutcomeKind.SUCCEEDED, OutcomeKind.FAILED, OutcomeKind.TIMED_OUT)

_Key = tuple[str, str]
"""Namespace and task type."""

Ended = tuple[Running, Outcome, State]
"""An attempt, how it ended, and what its task became."""


class Stats:
    """The statistics of a tracker. Callers pass the time as `now`, in seconds since the epoch.

    `backlog_of` returns how many tasks of a namespace and type wait.
    """

    def __init__(self, backlog_of: Callable[[_Key], int] = lambda _: 0) -> None:
        self.histograms = Histograms()
        self._backlog_of = backlog_of
        self._series: dict[_Key, Series] = {}
        self._slot = 0
        self._active: set[_Key] = set()  # pairs with something fresh, all of the same slot
        self._rows = MinuteRows()
        self._write_at = 0.0
        self._urgent = False  # whether attempts have begun or ended: that is written at once
        self._held_at: float | None = None  # since then what is not urgent waits for a write
        self._forgotten_at = 0
        self._unchecked: list[_Key] = []
        self._views: dict[str, tuple[float, dict[str, Any]]] = {}
        self._full = False
        self._restored = asyncio.Event()

    # In the hot path

    def record(
        self, ended: Iterable[Ended], waits: Iterable[tuple[Running, float]], now: float
    ) -> None:
        """Record how attempts ended, and for how many seconds claimed tasks had been due."""
        self._enter(now)
        fresh: dict[_Key, Tally | None] = {}
        observe = self.histograms.observe
        for running, outcome, state in ended:
            key = running.namespace, running.task_type
            tally = self._fresh(fresh, key, now)
            if outcome.kind in _TIMED:
                observe(key, RUN, outcome.finished_at - outcome.started_at)
            if tally is None:
                continue
            if state is State.COMPLETED:
                tally.completed += 1
            elif state is State.FAILED:
                tally.failed += 1
            if outcome.kind in _TIMED:
                number = bucket(outcome.finished_at - outcome.started_at)
                tally.runs[number] = tally.runs.get(number, 0) + 1
        for running, seconds in waits:
            key = running.namespace, running.task_type
            observe(key, WAIT, seconds)
            tally = self._fresh(fresh, key, now)
            if tally is not None:
                number = bucket(seconds)
                tally.waits[number] = tally.waits.get(number, 0) + 1

    def count(self, counts: Mapping[Counted, int], totals: Mapping[Total, int], now: float) -> None:
        """Record what a transaction has changed. It is in what `backlog_of` returns already."""
        self._enter(now)
        moved: Counter[_Key] = Counter()
        for (space, task_type, state), number in counts.items():
            if state in WAITING:
                moved[space, task_type] += number
        for key, change in moved.items():
            series = self._series.get(key)
            if series is None:
                series = self._begin(key, now)
                if series is None:
                    continue
                series.backlog_before -= change
            series.backlog = self._backlog_of(key)
            series.fresh.submitted += totals.get((*key, SUBMITTED), 0)
            self._note_held(key, now)

    def _note_held(self, key: _Key, now: float) -> None:
        self._active.add(key)
        if self._held_at is None:
            self._held_at = now

    def _enter(self, now: float) -> None:
        slot = int(now // SLOT_SECONDS)
        if slot != self._slot:
            self._gather()
            self._slot = slot

    def _fresh(self, known: dict[_Key, Tally | None], key: _Key, now: float) -> Tally | None:
        """Return the fresh tally of a series; `known` saves repeated look-ups."""
        try:
            return known[key]
        except KeyError:
            series = self._series.get(key) or self._begin(key, now)
            if series is not None:
                self._active.add(key)
                self._urgent = True
            tally = known[key] = None if series is None else series.fresh
            return tally

    def _begin(self, key: _Key, now: float) -> Series | None:
        if len(self._series) >= MAX_SERIES:
            if not self._full:
                log.warning("no statistics of more than %s task types are kept", MAX_SERIES)
            self._full = True
            return None
        series = self._series[key] = Series(now, self._backlog_of(key))
        return series

    # What is asked

    def view(self, namespace: str, now: float) -> dict[str, Any]:
        """Return the windows of a namespace, as `/stats` shows them; at most a second old."""
        known = self._views.get(namespace)
        if known is not None and 0 <= now - known[0] < 1.0:
            return known[1]
        self._gather()
        mine = {
            name: item
            for (space, name), item in self._series.items()
            if space == namespace and not is_reserved(name)
        }
        whole = {name: Tally() for name in WINDOWS}
        for series in mine.values():
            series.move(now)
            for name, tally in whole.items():
                tally.add(series.windows[name].total)
        shown = {
            "windows": {name: tally.view(WINDOWS[name][1]) for name, tally in whole.items()},
            "by_type": {
                task_type: {
                    name: window.total.view(WINDOWS[name][1])
                    for name, window in series.windows.items()
                }
                for task_type, series in sorted(mine.items())
                if not series.empty
            },
        }
        if mine:
            self._views[namespace] = now, shown
        return shown

    # What is kept in the database

    def to_write(self, now: float) -> StatsWrite | None:
        """Return the new rows, if it is time to write; call `written` once they are on disk.

        A repeated row does no harm: each row is its whole minute.
        """
        if self._held_at is None and self.histograms.is_new:
            self._held_at = now
        # So early that no write could be due: the clock was set back.
        if self._write_at - WRITE_SECONDS <= now < self.write_due:
            return None
        self._write_at, self._held_at = now + WRITE_SECONDS, None
        self._gather()
        this_minute = int(now // 60)
        forget = None
        if this_minute // 10 != self._forgotten_at:
            self._forgotten_at = this_minute // 10
            forget = this_minute - KEPT_MINUTES
            self._unchecked = list(self._series)
        self._drop_empty(now)
        rows, histograms = self._rows.take(this_minute), self.histograms.to_write()
        if not rows and forget is None and not histograms:
            return None
        if self._rows.more or self.histograms.more:
            self._write_at = now + _SOON_SECONDS
        return StatsWrite(rows, forget, histograms)

    @property
    def write_due(self) -> float:
        """The time of the next write; infinite if nothing is new."""
        due = math.inf
        if self._urgent or self._rows.any:
            due = self._write_at
        if self._held_at is not None:
            due = min(due, max(self._write_at, self._held_at + WRITE_SECONDS))
        return due if self.restored else math.inf

    def written(self) -> None:
        """Record that the rows last returned by `to_write` are on disk."""
        self._rows.written()
        self.histograms.written()

    def not_written(self) -> None:
        """Record that the rows last returned by `to_write` may not be on disk, so they are due."""
        self._write_at = 0.0

    def restore(self, rows: Iterable[MinuteRow], now: float) -> None:
        """Adopt the statistics of earlier trackers, all in one go. See `adopt`."""
        restored = Restored(now)
        restored.add(rows)
        restored.finish()
        for _ in self.adopt(restored, now):
            pass

    def adopt(self, restored: Restored, now: float) -> Iterator[None]:
        """Adopt the statistics of earlier trackers; once, and before anything is written.

        Each request for the next item does one small step.
        """
        self._enter(now)
        for number, (key, series) in enumerate(restored.series.items(), start=1):
            mine = self._series.get(key)
            if mine is not None or self._begin(key, now) is not None:
                series.move(now)
                series.backlog = self._backlog_of(key)
                if mine is not None:
                    series.absorb(mine)
                self._series[key] = series
                before = series.backlog if mine is None else mine.backlog_before
                series.backlog_before = restored.backlogs.get(key, before)
                if series.backlog != series.backlog_before:  # that tracker could not write it
                    self._note_held(key, now)
            if number % _ADOPTED == 0:
                yield
        self._rows.begin_at(restored.next_minute)
        for number, (minute, key, slots) in enumerate(restored.recent, start=1):
            self._rows.adopt(minute, key, slots)
            if number % _ADOPTED == 0:
                yield
        self.histograms.restore(restored.histograms)
        self._restored.set()

    @property
    def restored(self) -> bool:
        """Whether the statistics of earlier trackers are adopted."""
        return self._restored.is_set()

    async def read_back(self, seconds: float) -> None:
        """Wait until `restored` is true. Raises `StoreUnavailable` after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._restored.wait()
        except TimeoutError:
            raise StoreUnavailable("the statistics are not read yet; try again soon") from None

    @property
    def oldest_unwritten(self) -> float:
        """The oldest minute whose row may still change; infinite if there is none."""
        return self._rows.oldest

    @staticmethod
    def first_minute(now: float) -> int:
        """Return the first minute that a new tracker is to read."""
        return int(now // 60) - DAY_MINUTES

    def _gather(self) -> None:
        """Move fresh tallies into the windows, and into the minutes' rows."""
        at = self._slot * SLOT_SECONDS
        for key in self._active:
            self._rows.add(at, key, self._series[key].gather(at))
        self._active.clear()
        self._urgent = False

    def _drop_empty(self, now: float) -> None:
        keys, self._unchecked = self._unchecked[:_CHECKED], self._unchecked[_CHECKED:]
        for key in keys:
            series = self._series.get(key)
            if series is not None:
                series.move(now)
                if series.empty:
                    del self._series[key]
        if not keys or self._unchecked:
            return
        self._full = False
        spaces = {space for space, _ in self._series}
        self._views = {space: view for space, view in self._views.items() if space in spaces}
