"""The statistics of the tracker: known sequences on a clock of the test give known numbers."""

import itertools
import math
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from raytasks.model.bulk_operations import NewBulk
from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tallies import Tally, bucket, duration, percentiles
from raytasks.model.tasks import Running
from raytasks.protocol.commands import CancelTask, StartBulk
from raytasks.protocol.messages import Claim, Outcome
from raytasks.protocol.queries import Statistics, StatsHistory, TaskCounts
from raytasks.store.stats_rows import MinuteRow, RowKey, StatsWrite, tallies_of, write_stats
from raytasks.store.store import Store
from raytasks.testing import FakeClock
from raytasks.tracker import statistics as module
from raytasks.tracker.core import Tracker
from raytasks.tracker.minute_rows import MinuteRows
from raytasks.tracker.statistics import WRITE_SECONDS, Stats
from raytasks.tracker.windows import Window
from tests.making import NOW, bulk_filter, new_task, task_id
from tests.tracking import FaultyStore, ScriptedRunner, tracker_on, until

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


def running(task_type: str = "short", namespace: str = "default") -> Running:
    return Running(
        task_id(1), task_type, 1, "r1", NOW, 0, 0, 0, max_attempts=3, namespace=namespace
    )


def note(
    stats: Stats,
    now: float,
    *,
    seconds: float = 1.0,
    state: State = State.COMPLETED,
    kind: OutcomeKind = OutcomeKind.SUCCEEDED,
    task_type: str = "short",
    namespace: str = "default",
) -> None:
    """Note the end of an attempt."""
    outcome = Outcome(task_id(1), 1, kind, started_at=now - seconds, finished_at=now)
    stats.record([(running(task_type, namespace), outcome, state)], [], now)


def completed(stats: Stats, now: float, namespace: str = "default") -> tuple[int, int, int]:
    """Return how many tasks have completed in the last minute, hour, day."""
    windows = stats.view(namespace, now)["windows"]
    minute, hour, day = (windows[name]["completed"] for name in ("minute", "hour", "day"))
    return minute, hour, day


def per_minute(store: Store) -> list[int]:
    """Return how many tasks have completed, by the rows of the statistics."""
    return [sum(tally.completed for tally in tallies) for tallies in tallies_in(store)]


def tallies_in(store: Store) -> list[list[Tally]]:
    return [list(tallies_of(row.data).values()) for row in sorted(store.stats_since(0))]


class Rows:
    """The rows of the statistics, kept in memory."""

    def __init__(self) -> None:
        self._rows: dict[RowKey, MinuteRow] = {}

    @property
    def completed(self) -> int:
        rows = (tallies_of(row.data).values() for row in self._rows.values())
        return sum(tally.completed for tallies in rows for tally in tallies)

    def restart(self, now: float) -> Stats:
        """Return the statistics of the next tracker."""
        stats = Stats()
        first = stats.first_minute(now)
        stats.restore([row for key, row in sorted(self._rows.items()) if key[0] >= first], now)
        return stats

    def write(self, stats: Stats, now: float, *, fails: bool = False) -> None:
        work = stats.to_write(now)
        if work is not None and not fails:
            self._rows |= {(row.minute, row.namespace, row.task_type): row for row in work.rows}
            stats.written()

    def write_all(self, stats: Stats, now: float) -> None:
        """Write until nothing is left, on a clock that goes on."""
        while stats.write_due < math.inf:
            now += WRITE_SECONDS
            self.write(stats, now)


class TestHistograms:
    def test_a_bucket_stands_for_its_durations_within_five_percent(self) -> None:
        for seconds in (0.00011, 0.001, 0.0199, 0.5, 1.0, 60.0, 3601.0, 604_800.0):
            assert duration(bucket(seconds)) == pytest.approx(seconds, rel=0.05)
        assert duration(bucket(1e-5)) == duration(bucket(0.0)) == duration(bucket(-3.0)) == 0.0

    def test_percentiles_are_within_five_percent(self) -> None:
        chance = random.Random(1)
        values = sorted(chance.lognormvariate(0, 2) for _ in range(5_000))
        histogram: dict[int, int] = {}
        for value in values:
            histogram[bucket(value)] = histogram.get(bucket(value), 0) + 1
        found = percentiles(histogram)
        assert found is not None
        for name, part in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            assert found[name] == pytest.approx(values[math.ceil(part * 5_000) - 1], rel=0.05)

    def test_of_one_value_all_percentiles_are_the_same(self) -> None:
        found = percentiles({bucket(2.0): 1})
        assert found is not None
        assert found["p50"] == found["p95"] == found["p99"] == pytest.approx(2.0, rel=0.05)
        assert percentiles({}) is None

    def test_what_was_added_can_be_taken_away(self) -> None:
        one, other = Tally(1, 2, {3: 4}, {5: 6}), Tally(10, 20, {3: 40, 7: 1}, {})
        one.add(other)
        assert one == Tally(11, 22, {3: 44, 7: 1}, {5: 6})
        one.add(other, -1)
        assert one == Tally(1, 2, {3: 4}, {5: 6})

    def test_a_window_forgets_slot_by_slot(self) -> None:
        window = Window(5, 60)
        for second in range(0, 60, 5):
            window.move(second)
            window.add(second, Tally(completed=1))
        found = []
        for now in (59.9, 60, 64.9, 65, 114.9, 115, 500):
            window.move(now)
            found.append(window.total.completed)
        assert found == [12, 11, 11, 10, 1, 0, 0]


class TestWindows:
    def test_what_has_ended_leaves_one_window_after_the_other(self) -> None:
        stats = Stats()
        note(stats, NOW)
        for seconds, wanted in (
            (0, (1, 1, 1)),
            (MINUTE - 5, (1, 1, 1)),
            (MINUTE, (0, 1, 1)),
            (HOUR - MINUTE, (0, 1, 1)),
            (HOUR, (0, 0, 1)),
            (DAY - 10 * MINUTE, (0, 0, 1)),
            (DAY, (0, 0, 0)),
        ):
            assert completed(stats, NOW + seconds) == wanted, seconds

    def test_a_known_sequence(self) -> None:
        stats = Stats()
        for i in range(100):
            note(stats, NOW + i * 0.5, seconds=(i + 1) / 100)
        for i in range(25):
            note(stats, NOW + 50 + i * 0.1, state=State.FAILED, kind=OutcomeKind.FAILED, seconds=9)
        note(stats, NOW + 53, state=State.RETRYING, kind=OutcomeKind.TIMED_OUT, seconds=100)
        note(stats, NOW + 53, state=State.RETRYING, kind=OutcomeKind.LOST, seconds=1000)
        note(stats, NOW + 53, state=State.FAILED, kind=OutcomeKind.LOST, seconds=1000)
        note(stats, NOW + 53, state=State.CANCELLED, kind=OutcomeKind.CANCELLED, seconds=1000)
        for i in range(10):
            stats.record([], [(running(), 0.1 * (i + 1))], NOW + 53)
        shown = stats.view("default", NOW + 54)
        minute = shown["windows"]["minute"]
        assert (minute["seconds"], minute["completed"], minute["failed"]) == (60, 100, 26)
        assert minute["failure_rate"] == 26 / 126
        assert minute["per_second"] == 126 / 60
        # Of 126 attempts the 63rd took 0.63 s, the 120th 9 s, the last 100 s.
        assert minute["run_time"]["p50"] == pytest.approx(0.63, rel=0.05)
        assert minute["run_time"]["p95"] == pytest.approx(9, rel=0.05)
        assert minute["run_time"]["p99"] == pytest.approx(9, rel=0.05)
        assert minute["queue_wait"]["p50"] == pytest.approx(0.5, rel=0.05)
        assert minute["queue_wait"]["p99"] == pytest.approx(1.0, rel=0.05)
        assert shown["windows"]["day"]["per_second"] == 126 / DAY
        assert shown["by_type"] == {"short": shown["windows"]}

    def test_types_and_namespaces_are_kept_apart(self) -> None:
        stats = Stats()
        note(stats, NOW)
        note(stats, NOW, task_type="long")
        note(stats, NOW, namespace="other", task_type="long")
        assert completed(stats, NOW) == (2, 2, 2)
        assert completed(stats, NOW, "other") == (1, 1, 1)
        assert completed(stats, NOW, "nobody") == (0, 0, 0)
        assert list(stats.view("default", NOW)["by_type"]) == ["long", "short"]
        assert list(stats.view("other", NOW)["by_type"]) == ["long"]

    def test_an_answer_is_kept_for_a_second(self) -> None:
        stats = Stats()
        note(stats, NOW)
        first = stats.view("default", NOW)
        note(stats, NOW)
        assert stats.view("default", NOW + 0.9) is first
        assert completed(stats, NOW + 1.0) == (2, 2, 2)

    def test_a_clock_that_is_set_does_no_harm(self) -> None:
        stats = Stats()
        stats.restore([], NOW)
        for now in (NOW, NOW - 7000, NOW + 7000, NOW - 100_000, NOW):
            note(stats, now)
            stats.to_write(now)
            stats.view("default", now)
        assert completed(stats, NOW + 3 * DAY) == (0, 0, 0)

    def test_there_is_a_limit_to_the_types(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_SERIES", 2)
        stats = Stats()
        stats.restore([], NOW)
        for name in ("a", "b", "c"):
            note(stats, NOW, task_type=name)
            stats.record([], [(running(name), 1.0)], NOW)
        assert list(stats.view("default", NOW)["by_type"]) == ["a", "b"]
        # After a day without anything they make room.
        stats.to_write(NOW + DAY)
        note(stats, NOW + DAY, task_type="c")
        assert list(stats.view("default", NOW + DAY)["by_type"]) == ["c"]


class TestWriting:
    """Writes of the statistics, made by hand."""

    def written(self, stats: Stats, store: Store, now: float) -> StatsWrite | None:
        work = stats.to_write(now)
        if work is not None:
            with store.transaction(now=now) as transaction:
                write_stats(transaction, work)
            stats.written()
        return work

    def again(self, store: Store, now: float) -> Stats:
        """Return the statistics of the next tracker."""
        stats = Stats()
        stats.restore(store.stats_since(stats.first_minute(now)), now)
        return stats

    @pytest.fixture
    def store(self, store_url: str, open_store: Any) -> Store:
        store: Store = open_store(store_url)
        return store

    def test_the_next_tracker_shows_the_same(self, store: Store) -> None:
        chance = random.Random(2)
        stats = Stats()
        stats.restore([], NOW)
        now = NOW
        for number in range(600):
            now += chance.choice([0.0, 0.3, 4.0, 30.0, 700.0]) if number < 500 else 0.7
            note(
                stats,
                now,
                seconds=chance.expovariate(1),
                task_type=chance.choice(["short", "long"]),
                state=chance.choice([State.COMPLETED, State.FAILED]),
            )
            stats.record([], [(running(), chance.expovariate(1))], now)
            self.written(stats, store, now)
        now += WRITE_SECONDS
        self.written(stats, store, now)
        assert stats.view("default", now)["windows"]["minute"]["completed"] > 3
        successor = self.again(store, now)
        for later in (0.0, 10.0, 50.0, 2 * MINUTE, 40 * MINUTE, 5 * HOUR, 20 * HOUR):
            shown, wanted = (item.view("default", now + later) for item in (successor, stats))
            assert shown == wanted, later

    def test_what_comes_before_the_reading_is_added_to_what_is_read(self, store: Store) -> None:
        first = Stats()
        first.restore([], NOW)
        note(first, NOW)
        self.written(first, store, NOW)
        second = Stats()
        note(second, NOW + 1)
        assert second.to_write(NOW + 1) is None  # it would overwrite what is there
        second.restore(store.stats_since(second.first_minute(NOW)), NOW + 1)
        note(second, NOW + 2)
        assert completed(second, NOW + 2) == (3, 3, 3)
        self.written(second, store, NOW + 2)
        assert completed(self.again(store, NOW + 3), NOW + 3) == (3, 3, 3)

    def test_it_writes_little_and_not_often(self, store: Store) -> None:
        stats = Stats()
        stats.restore([], NOW)
        assert stats.write_due == math.inf
        works: list[tuple[float, StatsWrite]] = []
        for i in range(600):
            now = NOW + i / 10
            note(stats, now)
            if (work := self.written(stats, store, now)) is not None:
                works.append((now, work))
        times = [now for now, _ in works]
        assert len(times) == 12
        assert all(b - a >= WRITE_SECONDS for a, b in itertools.pairwise(times))
        assert all(len(work.rows) <= 2 for _, work in works)
        assert completed(self.again(store, NOW + 60), NOW + 60)[2] == 551  # not the last 5 s

    def test_a_clock_that_was_set_back_holds_up_no_write(self) -> None:
        stats = Stats()
        stats.restore([], NOW)
        note(stats, NOW)
        assert stats.to_write(NOW) is not None
        note(stats, NOW - 3600)
        assert stats.to_write(NOW - 3600) is not None
        note(stats, NOW - 3599)
        assert stats.to_write(NOW - 3599) is None

    def test_a_clock_that_was_set_back_replaces_no_minute(self, store: Store) -> None:
        stats = Stats()
        stats.restore([], NOW)
        start = NOW // 60 * 60
        for minute, number in enumerate((100, 1, 1, 1, 1, 1)):
            for _ in range(number):
                note(stats, start + 60 * minute + 10)
            self.written(stats, store, start + 60 * minute + 20)
        assert per_minute(store) == [100, 1, 1, 1, 1, 1]
        for second in (30, 40, 50):
            note(stats, start + second)
            self.written(stats, store, start + second + 5)
        assert per_minute(store) == [100, 1, 1, 4, 1, 1]  # the last three may still change
        note(stats, start + 60 * 6)
        self.written(stats, store, start + 60 * 6)
        assert per_minute(store) == [100, 1, 1, 4, 1, 1, 1]

    def test_after_a_clock_was_set_back_the_backlog_goes_on_from_its_last(self) -> None:
        rows, pair = MinuteRows(), ("default", "short")
        rows.begin_at(1)
        for at, backlog in ((70, (0, 5)), (100, (5, 7)), (10, (7, 9)), (20, (9, 3))):
            rows.add(at, pair, Tally(backlog=backlog))
        [row] = rows.take(1)
        assert row.minute == 1
        assert [item.backlog for item in tallies_of(row.data).values()] == [(0, 5), (5, 3)]

    def test_a_clock_that_was_ahead_for_a_moment_moves_no_minute_after_it(
        self, store: Store
    ) -> None:
        stats = Stats()
        stats.restore([], NOW)
        start = NOW // 60 * 60
        for minute in (0, 1, 600, 2, 3):
            note(stats, start + 60 * minute)
            self.written(stats, store, start + 60 * minute)
        first = int(start // 60)
        minutes = [row.minute - first for row in sorted(store.stats_since(0))]
        assert minutes == [0, 1, 2, 3, 600]

    @pytest.mark.parametrize("before", [True, False], ids=["before the reading", "after it"])
    def test_the_next_tracker_replaces_no_minute_either(self, store: Store, before: bool) -> None:
        stats = Stats()
        stats.restore([], NOW)
        start = NOW // 60 * 60
        for minute in (0, 1, 2):
            note(stats, start + 60 * minute)
            self.written(stats, store, start + 60 * minute)
        now = start + 300
        successor = Stats()
        if before:
            note(successor, start + 10)
        successor.restore(store.stats_since(successor.first_minute(now)), now)
        if not before:
            note(successor, start + 10)
        self.written(successor, store, start + 20)
        assert per_minute(store) == [1, 1, 1, 1]

    def test_what_was_not_restored_for_want_of_room_is_not_replaced(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stats = Stats()
        stats.restore([], NOW)
        note(stats, NOW)
        self.written(stats, store, NOW)
        successor = Stats()
        monkeypatch.setattr(module, "MAX_SERIES", 0)
        successor.restore(store.stats_since(successor.first_minute(NOW)), NOW)
        monkeypatch.setattr(module, "MAX_SERIES", 1)
        note(successor, NOW + 1)
        self.written(successor, store, NOW + WRITE_SECONDS)
        assert per_minute(store) == [2]

    @pytest.mark.parametrize("seed", range(20))
    def test_whatever_the_clock_does_nothing_is_lost(self, seed: int) -> None:
        chance, now, number, rows = random.Random(seed), NOW, 0, Rows()
        stats = rows.restart(now)
        for _ in range(400):
            now += chance.choice([0.5, 3.0, 20.0, 100.0, 100.0, -1.0, -70.0, -900.0, 4000.0])
            note(stats, now, task_type=chance.choice(["short", "long"]))
            number += 1
            if chance.random() < 0.8:
                rows.write(stats, now, fails=chance.random() < 0.2)
            if chance.random() < 0.05:
                rows.write_all(stats, now)
                stats = rows.restart(now + chance.choice([0.0, 0.0, 300.0, -300.0]))
        rows.write_all(stats, now)
        assert rows.completed == number

    def test_a_write_that_failed_is_made_up_for(self, store: Store) -> None:
        stats = Stats()
        stats.restore([], NOW)
        note(stats, NOW)
        assert stats.to_write(NOW) is not None  # and it never gets there
        assert stats.to_write(NOW + 1) is None
        note(stats, NOW + 60)
        assert stats.write_due == NOW + WRITE_SECONDS
        self.written(stats, store, NOW + 60)
        assert completed(self.again(store, NOW + 60), NOW + 60)[1] == 2

    def test_a_minute_that_is_over_becomes_small(self, store: Store) -> None:
        stats = Stats()
        stats.restore([], NOW)
        start = NOW // 60 * 60
        for second in range(0, 60, 5):
            note(stats, start + second)
        self.written(stats, store, start + 59)
        [detailed] = store.stats_since(0)
        note(stats, start + 180)
        self.written(stats, store, start + 180)
        small = store.stats_since(0)[0]
        assert small.minute == detailed.minute
        assert len(small.data) * 5 < len(detailed.data)
        assert completed(self.again(store, start + 181), start + 181) == (1, 13, 13)

    def test_old_rows_go(self, store: Store) -> None:
        stats = Stats()
        stats.restore([], NOW)
        for hours in (0, 10, 24, 26):
            note(stats, NOW + hours * HOUR)
            self.written(stats, store, NOW + hours * HOUR)
        minutes = [row.minute for row in store.stats_since(0)]
        assert minutes == [int((NOW + hours * HOUR) // 60) for hours in (10, 24, 26)]


class TestTracker:
    """From submissions and outcomes to `Tracker.stats`."""

    @pytest.fixture
    async def tracker(self, store: FaultyStore, clock: FakeClock) -> AsyncIterator[Tracker]:
        async with tracker_on(store, clock=clock) as tracker:
            await self.loaded(tracker)
            yield tracker

    async def loaded(self, tracker: Tracker) -> None:
        await tracker.changes(0, 0, 0.0)
        await tracker.ticker.ledger.stats.read_back(10.0)

    async def run(
        self, tracker: Tracker, clock: FakeClock, numbers: Sequence[int], **changes: Any
    ) -> list[Claim]:
        """Submit tasks that are due now, and let the clock go on by 2 seconds until they begin."""
        values = {"run_at": clock(), **changes}
        await tracker.submit([new_task(number, **values) for number in numbers])
        clock.advance(2)
        runner = ScriptedRunner(tracker, f"r{numbers[0]}", pool=REMOTE_POOL)
        claims = await runner.claim()
        assert len(claims) == len(numbers)
        await runner.begin(claims, clock())
        await runner.hang_up()
        return claims

    def end(
        self, tracker: Tracker, clock: FakeClock, claim: Claim, seconds: float, **more: Any
    ) -> None:
        held = tracker.fleet.running[claim.task_id]
        kind = more.pop("kind", OutcomeKind.SUCCEEDED)
        outcome = Outcome(claim.task_id, claim.attempt, kind, clock() - seconds, clock(), **more)
        tracker.ticker.inbox.outcomes.append((held, outcome))
        tracker.ticker.wake.set()

    async def test_it_counts_ends_waits_and_runs(self, tracker: Tracker, clock: FakeClock) -> None:
        claims = await self.run(tracker, clock, [1, 2, 3])
        clock.advance(5)
        self.end(tracker, clock, claims[0], 4.0)
        self.end(tracker, clock, claims[1], 3.0, kind=OutcomeKind.FAILED)
        self.end(
            tracker, clock, claims[2], 5.0,
            kind=OutcomeKind.FAILED, retryable=True, delay_seconds=30.0,
        )  # fmt: skip
        for number, state in ((1, State.COMPLETED), (2, State.FAILED), (3, State.RETRYING)):
            await until(tracker, number, state)
        found = await tracker.read(Statistics("default"))
        assert await tracker.read(TaskCounts("default")) == {
            "by_state": {
                "PENDING": 0, "RUNNING": 0, "RETRYING": 1,
                "COMPLETED": 1, "FAILED": 1, "CANCELLED": 0,
            },
            "by_type": {"short": {"COMPLETED": 1, "FAILED": 1, "RETRYING": 1}},
        }  # fmt: skip
        minute = found["windows"]["minute"]
        assert (minute["completed"], minute["failed"], minute["failure_rate"]) == (1, 1, 0.5)
        assert minute["queue_wait"]["p50"] == pytest.approx(2.0, rel=0.05)
        assert minute["run_time"]["p50"] == pytest.approx(4.0, rel=0.05)
        assert minute["run_time"]["p99"] == pytest.approx(5.0, rel=0.05)

    async def test_the_wait_begins_when_a_task_is_due_whatever_its_priority(
        self, tracker: Tracker, clock: FakeClock
    ) -> None:
        for number, priority in ((1, 7), (2, -7)):
            await self.run(tracker, clock, [number], priority=priority)
        wait = (await tracker.read(Statistics("default")))["windows"]["minute"]["queue_wait"]
        assert wait["p50"] == pytest.approx(2.0, rel=0.05)
        assert wait["p99"] == pytest.approx(2.0, rel=0.05)

    async def test_a_task_that_is_given_back_has_waited_once(
        self, tracker: Tracker, clock: FakeClock
    ) -> None:
        await self.run(tracker, clock, [1])
        clock.advance(300)
        tracker.release_all()
        await until(tracker, 1, State.PENDING, attempt=1)
        runner = ScriptedRunner(tracker, "other", pool=REMOTE_POOL)
        await runner.begin(await runner.claim(), clock())
        [waits] = [series.windows["hour"].total.waits for series in self.series(tracker)]
        assert list(waits.values()) == [1]
        # A retry is due again.
        clock.advance(1)
        [claim] = [Claim(task_id(1), "short", 2, "", 0, 3, None, None)]
        self.end(
            tracker, clock, claim, 1.0,
            kind=OutcomeKind.FAILED, retryable=True, delay_seconds=10.0,
        )  # fmt: skip
        await until(tracker, 1, State.RETRYING)
        await runner.hang_up()
        clock.advance(13)
        tracker.ticker.wake.set()
        await runner.begin(await runner.claim(), clock())
        [waits] = [series.windows["hour"].total.waits for series in self.series(tracker)]
        assert waits == {bucket(2.0): 1, bucket(3.0): 1}

    def series(self, tracker: Tracker) -> list[Any]:
        tracker.ticker.ledger.stats.view("default", tracker._clock() + 2)
        return list(tracker.ticker.ledger.stats._series.values())

    async def test_the_next_tracker_goes_on_with_them(
        self, sqlite_url: str, clock: FakeClock
    ) -> None:
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
            await self.loaded(tracker)
            [claim] = await self.run(tracker, clock, [1])
            self.end(tracker, clock, claim, 1.5)
            await until(tracker, 1, State.COMPLETED)
            clock.advance(WRITE_SECONDS)
            tracker.ticker.wake.set()
            while tracker.ticker.ledger.stats.write_due < math.inf:
                await tracker.ticker.access.read(lambda: None)
            before = await tracker.read(Statistics("default"))
            assert before["windows"]["minute"]["completed"] == 1
        store = FaultyStore(sqlite_url)
        async with tracker_on(store, clock=clock) as tracker:
            await self.loaded(tracker)
            assert await tracker.read(Statistics("default")) == before
            with store._database.reading() as connection:
                assert connection.execute(text("SELECT count(*) FROM stats_minutes")).scalar() == 1

    async def test_the_backlog_is_known_also_where_the_last_tracker_could_not_write_it(
        self, sqlite_url: str, clock: FakeClock
    ) -> None:
        async def write(tracker: Tracker) -> None:
            clock.advance(WRITE_SECONDS)
            tracker.ticker.wake.set()
            while tracker.ticker.ledger.stats.write_due < math.inf:
                await tracker.ticker.access.read(lambda: None)

        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
            await self.loaded(tracker)
            later = clock() + HOUR
            await tracker.submit([new_task(number, run_at=later) for number in (1, 2, 3)])
            await write(tracker)
            clock.advance(2 * MINUTE)
            await tracker.execute(CancelTask(task_id(1), "default"))
            await tracker.execute(CancelTask(task_id(2), "default"))  # and dies before it writes
        clock.advance(2 * MINUTE)
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
            await self.loaded(tracker)
            await write(tracker)
            clock.advance(MINUTE)
            shown = await tracker.read(StatsHistory("default", None, 420, clock()))
        assert shown.submitted == [0, 3, 0, 0, 0, 0, 0]
        assert shown.backlog == [0, 3, 3, 3, 3, 1, 1]

    async def test_a_step_of_a_bulk_operation_counts(
        self, tracker: Tracker, clock: FakeClock
    ) -> None:
        later = clock() + HOUR
        await tracker.submit([new_task(number, run_at=later) for number in (1, 2, 3)])
        new = NewBulk(task_id(9), bulk_filter("cancel", state=State.PENDING), clock())
        await tracker.execute(StartBulk(new))
        await until(tracker, 1, State.CANCELLED)
        [series] = self.series(tracker)
        assert (series.backlog_before, series.backlog) == (0, 0)

    async def test_ticks_have_no_more_statements_but_now_and_then(
        self, store: FaultyStore, clock: FakeClock
    ) -> None:
        async with tracker_on(store, clock=clock) as tracker:
            await self.loaded(tracker)
            works = []
            plan = tracker.ticker._plan

            def planned(taken: Any) -> Any:
                works.append(plan(taken))
                return works[-1]

            tracker.ticker._plan = planned  # type: ignore[method-assign]
            for number in range(5):
                [claim] = await self.run(tracker, clock, [number + 1])
                self.end(tracker, clock, claim, 1.0)
                await until(tracker, number + 1, State.COMPLETED)
            assert len(works) >= 15
            assert sum(work.stats is not None for work in works) <= 3
