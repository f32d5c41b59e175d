"""The statistics as series over time, on either database."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from raytasks.model.stats_series import StatsSeries
from raytasks.model.tallies import Tally, bucket
from raytasks.protocol.queries import StatsHistory
from raytasks.store import series_reads as module
from raytasks.store.stats_rows import MinuteRow, StatsWrite, write_stats
from raytasks.store.store import Store
from tests.making import Tracking

MINUTE = 30_000
NOW = MINUTE * 60.0 + 20


@pytest.fixture
def tracking(store_url: str, open_store: Callable[..., Store]) -> Tracking:
    return Tracking(open_store(store_url))


def write(
    store: Store, ago: int, slots: Mapping[str, Any], name: str = "short", space: str = "default"
) -> None:
    """Write the row of a minute, so many before the present one."""
    data = msgspec.json.encode(slots).decode()
    with store.transaction(now=NOW) as transaction:
        write_stats(transaction, StatsWrite([MinuteRow(MINUTE - ago, space, name, data)]))


def found(store: Store, seconds: int = 300, task_type: str | None = None) -> StatsSeries:
    return store.read(StatsHistory("default", task_type, seconds, NOW))


def wait(tracking: Tracking, number: int, task_type: str = "short") -> None:
    tracking.submit(number, task_type=task_type, run_at=NOW + 3600)


def test_each_step_has_what_happened_in_it(tracking: Tracking) -> None:
    store = tracking.store
    assert found(store).backlog == found(store).completed == [0] * 5
    slow, fast = {bucket(8.0): 9, bucket(30.0): 1}, {bucket(0.5): 2}
    write(store, 3, {"0": Tally(2, 1, fast, slow, 4, (0, 1)), "55": Tally(1, 0, {}, {}, 0, (1, 3))})
    write(store, 3, {"all": Tally(10, 0)}, "long")
    write(store, 1, {"all": Tally(0, 7, submitted=1, backlog=(3, 1))})
    write(store, 2, {"all": Tally(99, 99, submitted=99)}, space="other")
    write(store, 2, {"all": Tally(99, 99, submitted=99)}, "raytasks.own")
    write(store, 5, {"all": Tally(99)})  # before the first step
    wait(tracking, 1)
    shown = found(store, task_type="short")
    assert (shown.since, shown.step_seconds) == ((MINUTE - 4) * 60.0, 60)
    assert shown.submitted == [0, 4, 0, 1, 0]
    assert shown.completed == [0, 3, 0, 0, 0]
    assert shown.failed == [0, 1, 0, 7, 0]
    assert shown.backlog == [0, 3, 3, 1, 1]
    assert shown.queue_wait["p50"] == [None, pytest.approx(0.5, rel=0.05), None, None, None]
    assert shown.run_time["p50"][1] == pytest.approx(8.0, rel=0.05)
    assert shown.run_time["p99"][1] == pytest.approx(30.0, rel=0.05)
    assert found(store).completed == [0, 13, 0, 0, 0]
    assert found(store, task_type="raytasks.own").completed == [0, 0, 99, 0, 0]


def test_more_than_an_hour_has_steps_of_ten_minutes(tracking: Tracking) -> None:
    store = tracking.store
    for ago, completed, backlog in (
        (1, 1, (6, 5)),
        (11, 2, (7, 6)),
        (30, 4, (0, 7)),
        (119, 8, (0, 0)),
    ):
        write(store, ago, {"all": Tally(completed, backlog=backlog)})
    shown = found(store, 7200)
    assert (shown.since, shown.step_seconds) == ((MINUTE - 110) * 60.0, 600)
    assert shown.completed == [0] * 8 + [4, 2, 1, 0]
    assert shown.backlog == [0] * 8 + [7, 6, 5, 0]


def test_a_backlog_that_nothing_has_changed_is_as_it_is_now(tracking: Tracking) -> None:
    wait(tracking, 1)
    wait(tracking, 2, "long")
    shown = found(tracking.store)
    assert shown.backlog == [2] * 5
    assert shown.backlog_by_type == {"long": [1] * 5, "short": [1] * 5}


def test_before_a_row_that_does_not_tell_the_backlog_is_unknown(tracking: Tracking) -> None:
    write(tracking.store, 3, {"all": [5, 0, {}, {}]})  # as version 0.2 wrote it
    write(tracking.store, 1, {"all": Tally(1, backlog=(4, 2))})
    write(tracking.store, 1, {"all": Tally(1, backlog=(1, 0))}, "long")
    shown = found(tracking.store)
    assert shown.completed == [0, 5, 0, 2, 0]
    assert shown.backlog == [None, None, 5, 2, 0]


def test_only_the_types_with_the_largest_backlogs_are_shown(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_TYPES", 2)
    for peak, name in enumerate(("none", "low", "high", "middle")):
        write(tracking.store, 2, {"all": Tally(1, backlog=(0, peak % 3 * 10 + peak))}, name)
    shown = found(tracking.store)
    assert list(shown.backlog_by_type) == ["high", "low"]
    assert shown.omitted_types == 1
