"""The histograms of the metrics: exact, kept, and never less than what was shown."""

from collections.abc import Callable
from typing import Any

import pytest

from raytasks.store.metric_rows import HistogramRow
from raytasks.store.stats_rows import StatsWrite, write_stats
from raytasks.store.store import Store
from raytasks.tracker import histograms as module
from raytasks.tracker.histograms import (
    BOUNDS,
    COMMIT,
    OTHER,
    RUN,
    SERVICE,
    TICK,
    WAIT,
    Histograms,
    Pair,
    decoded,
)
from tests.making import NOW

PAIR = ("default", "short")


def started(rows: Any = ()) -> Histograms:
    """Return the histograms of a tracker that found these rows."""
    histograms = Histograms()
    histograms.restore(decoded(rows))
    return histograms


def saved(histograms: Histograms) -> list[HistogramRow]:
    """Write what is new, and return the rows."""
    rows = histograms.to_write()
    histograms.written()
    return rows


def shown(histograms: Histograms, name: str = RUN, pair: Pair = PAIR) -> tuple[int, float]:
    """Return how many durations are shown, and their sum."""
    [found] = [
        item
        for item in histograms.view()
        if (item.name, item.namespace, item.task_type) == (name, *pair)
    ]
    assert len(found.counts) == len(BOUNDS[name]) + 1
    return sum(found.counts), found.sum


def test_a_duration_is_in_the_bucket_of_the_next_bound() -> None:
    histograms = started()
    for seconds in (-1.0, 0.0, 0.005, 0.0051, 3600.0, 3600.1):
        histograms.observe(PAIR, RUN, seconds)
    saved(histograms)
    [found] = [item for item in histograms.view() if item.name == RUN]
    assert found.counts[0] == 3  # a bound belongs to its bucket
    assert found.counts[1] == 1
    assert found.counts[-2:] == [1, 1]
    assert found.sum == 0.0 + 0.0 + 0.005 + 0.0051 + 3600.0 + 3600.1


def test_only_what_is_on_disk_is_shown() -> None:
    histograms = started()
    histograms.observe(PAIR, WAIT, 2.0)
    assert [item.name for item in histograms.view()] == [TICK, COMMIT]
    rows = histograms.to_write()
    assert shown(histograms, WAIT) == (0, 0.0)
    histograms.observe(PAIR, WAIT, 3.0)
    histograms.written()
    assert shown(histograms, WAIT) == (1, 2.0)
    assert shown(started(rows), WAIT) == (1, 2.0)
    assert shown(started(saved(histograms)), WAIT) == (2, 5.0)


def test_a_write_without_an_answer_is_repeated() -> None:
    histograms = started()
    histograms.observe(PAIR, RUN, 1.0)
    lost = histograms.to_write()
    assert histograms.is_new
    assert saved(histograms) == lost
    assert shown(histograms) == (1, 1.0)
    assert saved(histograms) == []


def test_what_comes_before_the_reading_is_added_to_what_is_read() -> None:
    first = started()
    first.observe(PAIR, RUN, 1.0)
    rows = saved(first)
    second = Histograms()
    second.observe(PAIR, RUN, 2.0)
    second.admit([("default", "long")])  # places are given later, when all is read
    assert second.to_write() == []
    second.restore(decoded(rows))
    assert shown(second) == (1, 1.0)
    saved(second)
    assert shown(second) == (2, 3.0)


def test_more_pairs_than_places_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PAIRS", 2)
    histograms = started()
    histograms.observe(SERVICE, TICK, 0.1)
    for name in ("a", "b", "c", "d"):
        histograms.observe(("default", name), RUN, 1.0)
    rows = saved(histograms)
    assert shown(histograms, RUN, ("default", "b")) == (1, 1.0)
    assert shown(histograms, RUN, OTHER) == (2, 2.0)
    assert histograms.place(("default", "a")) == ("default", "a")
    assert histograms.place(("default", "c")) == OTHER
    successor = started(rows)
    successor.admit([("default", "c"), ("default", "a")])
    assert successor.place(("default", "c")) == OTHER
    assert shown(successor, TICK, SERVICE) == (1, 0.1)


def test_a_pair_that_came_first_keeps_its_place() -> None:
    histograms = started()
    histograms.admit([PAIR])
    assert histograms.is_new
    assert shown(histograms) == (0, 0.0)
    assert [row[:2] for row in saved(histograms)] == [PAIR]


def test_many_rows_are_written_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ROWS", 2)
    histograms = started()
    histograms.admit([("default", name) for name in "abc"])
    assert len(histograms.to_write()) == 2
    assert histograms.more
    histograms.written()
    assert len(saved(histograms)) == 1
    assert not histograms.is_new


def test_rows_that_cannot_be_read_begin_again() -> None:
    rows = [
        HistogramRow("default", "a", "{"),
        HistogramRow("default", "b", '{"run": [1.0, [1, 2]], "else": [1.0, [1]]}'),
    ]
    histograms = started(rows)
    assert shown(histograms, RUN, ("default", "a")) == (0, 0.0)
    assert shown(histograms, RUN, ("default", "b")) == (0, 0.0)


def test_they_are_kept_in_the_database(store_url: str, open_store: Callable[..., Store]) -> None:
    store = open_store(store_url)
    histograms = started(store.histograms())
    for number in range(3):
        histograms.observe(PAIR, RUN, number / 3)
        with store.transaction(now=NOW) as transaction:
            write_stats(transaction, StatsWrite([], histograms=histograms.to_write()))
        histograms.written()
    found = started(store.histograms())
    assert shown(found) == shown(histograms) == (3, 0 / 3 + 1 / 3 + 2 / 3)
