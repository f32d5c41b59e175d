"""The statistics in the database: read back in slices, made coarser, and forgotten, in steps."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_core import to_json

from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import Running
from raytasks.protocol.messages import Outcome
from raytasks.store import stats_rows as store_stats
from raytasks.store.stats_rows import MinuteRow, StatsWrite, write_stats
from raytasks.store.store import Store
from raytasks.testing import FakeClock
from raytasks.tracker import minute_rows
from raytasks.tracker import stats_upkeep as module
from raytasks.tracker.access import StoreAccess
from raytasks.tracker.statistics import Stats
from raytasks.tracker.stats_upkeep import StatsUpkeep
from tests.making import NOW

THIS_MINUTE = int(NOW // 60)


def a_day(pairs: int, minutes: int, seed: int = 1) -> list[MinuteRow]:
    """Return rows of the last minutes, as 0.1 has written them: one for each minute and pair."""
    chance = random.Random(seed)
    rows = []
    for minute in range(THIS_MINUTE - minutes, THIS_MINUTE):
        for pair in range(pairs):
            waits = {chance.randint(20, 120): chance.randint(1, 9) for _ in range(4)}
            runs = {chance.randint(40, 120): chance.randint(1, 9) for _ in range(4)}
            data = to_json({"all": [chance.randint(0, 60), 1, waits, runs]}).decode()
            rows.append(MinuteRow(minute, f"team-{pair % 2}", f"type_{pair}", data))
    return rows


def shown(stats: Stats, now: float) -> list[dict[str, Any]]:
    return [stats.view(namespace, now) for namespace in ("team-0", "team-1")]


def note(stats: Stats, now: float, task_type: str = "type_0", namespace: str = "team-0") -> None:
    """Note an attempt that took a second and succeeded."""
    running = Running("id", task_type, 1, "r1", now, 0, 0, 0, 3, namespace=namespace)
    outcome = Outcome("id", 1, OutcomeKind.SUCCEEDED, now - 1, now)
    stats.record([(running, outcome, State.COMPLETED)], [], now)


class Keeper:
    """The statistics of a tracker on a store, with their upkeep."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = FakeClock(NOW)
        self.epoch = store.begin_epoch(NOW)
        self.stats = Stats()
        self.access = StoreAccess(store, lambda _: None)
        self.upkeep = StatsUpkeep(
            store, self.access, self.stats, epoch=lambda: self.epoch, clock=self.clock
        )

    def write(self, rows: list[MinuteRow]) -> None:
        with self.store.transaction(now=NOW) as transaction:
            write_stats(transaction, StatsWrite(rows))

    def minutes(self) -> list[int]:
        return [row.minute for row in self.store.stats_since(0)]


@pytest.fixture
async def keeper(
    store_url: str, open_store: Any, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Keeper]:
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0.0)
    keeper = Keeper(open_store(store_url))
    yield keeper
    await keeper.access.close()


async def test_slices_give_the_same_as_all_in_one_go(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = a_day(pairs=6, minutes=150)
    keeper.write(rows)
    whole = Stats()
    whole.restore(rows, NOW)
    monkeypatch.setattr(module, "READ_ROWS", 37)
    await keeper.upkeep.restore()
    assert keeper.stats.restored
    for later in (0.0, 600.0, 3600.0, 20 * 3600.0):
        assert shown(keeper.stats, NOW + later) == shown(whole, NOW + later)


async def test_the_event_loop_does_small_pieces_only(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding happens in the reader's thread, and pairs are taken over some at a time."""
    keeper.write(a_day(pairs=50, minutes=4))
    loop_thread = asyncio.get_running_loop()
    read: list[int] = []
    stats_after = keeper.store.stats_after

    def spy(key: Any, limit: int) -> list[MinuteRow]:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()  # this is another thread
        rows = stats_after(key, limit)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(keeper.store, "stats_after", spy)
    monkeypatch.setattr(module, "READ_ROWS", 64)
    taken: list[int] = []
    adopt = keeper.stats.adopt

    def adopted(restored: Any, now: float) -> Any:
        for _ in adopt(restored, now):
            taken.append(len(keeper.stats._series))
            yield

    monkeypatch.setattr(keeper.stats, "adopt", adopted)
    await keeper.upkeep.restore()
    assert loop_thread is asyncio.get_running_loop()
    assert read == [64, 64, 64, 8]
    assert taken[:2] == [20, 40]
    assert len(keeper.stats._series) == 50


async def test_what_happens_meanwhile_is_added(keeper: Keeper) -> None:
    rows = a_day(pairs=2, minutes=90)
    keeper.write(rows)
    note(keeper.stats, NOW)
    keeper.stats.view("team-0", NOW)
    note(keeper.stats, NOW + 6)
    note(keeper.stats, NOW + 6, "new")
    await keeper.upkeep.restore()
    note(keeper.stats, NOW + 6)
    whole = Stats()
    whole.restore(rows, NOW)
    before = whole.view("team-0", NOW)["windows"]["day"]["completed"]
    assert keeper.stats.view("team-0", NOW + 7)["windows"]["day"]["completed"] == before + 4


async def test_after_an_hour_there_is_one_row_for_ten_minutes(keeper: Keeper) -> None:
    rows = a_day(pairs=3, minutes=200)
    keeper.write(rows)
    before = Stats()
    before.restore(rows, NOW)
    await keeper.upkeep.restore()
    await keeper.upkeep.tidy()
    minutes = Counter(keeper.minutes())
    fine = [minute for minute in minutes if minute % 10]
    assert min(fine) > THIS_MINUTE - module.FINE_MINUTES - module.BLOCK
    assert set(minutes.values()) == {3}
    assert len(minutes) < 60 + 10 + 15
    again = Stats()
    again.restore(keeper.store.stats_since(0), NOW)
    for later in (0.0, 1800.0, 3600.0, 20 * 3600.0):
        assert shown(again, NOW + later) == shown(before, NOW + later)
    # Later on only what has become old is folded, and what is folded stays so.
    keeper.clock.advance(600)
    await keeper.upkeep.tidy()
    later_on = Counter(keeper.minutes())
    assert len(minutes) - len(later_on) == 9
    again, before = Stats(), Stats()
    again.restore(keeper.store.stats_since(0), NOW + 600)
    before.restore(rows, NOW + 600)
    assert shown(again, NOW + 600) == shown(before, NOW + 600)


async def test_a_step_writes_little(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of a database of before, with a row for each minute, as well."""
    keeper.write(a_day(pairs=30, minutes=100))
    folded: list[int] = []
    fold = store_stats.fold

    def spy(transaction: Any, first: int, end: int, rows: Any) -> None:
        folded.append(len(rows))
        fold(transaction, first, end, rows)

    monkeypatch.setattr(module, "fold", spy)
    monkeypatch.setattr(module, "FOLD_ROWS", 45)
    await keeper.upkeep.tidy()
    assert folded
    assert max(folded) <= 11  # of 45 rows, four or ten for each pair
    assert len([minute for minute in keeper.minutes() if minute < THIS_MINUTE - 70]) == 30 * 4


async def test_a_minute_that_is_still_to_be_written_waits(keeper: Keeper) -> None:
    """After a long outage: rows replace those of the same minute, so they are not folded yet."""
    keeper.clock.advance(-99 * 60)
    await keeper.upkeep.restore()
    note(keeper.stats, NOW - 99 * 60)
    keeper.write(a_day(pairs=1, minutes=100))
    keeper.clock.advance(99 * 60)
    keeper.stats.view("team-0", NOW)
    await keeper.upkeep.tidy()
    assert len(keeper.minutes()) == 100
    for seconds in (0, 60):
        note(keeper.stats, NOW + seconds)
        work = keeper.stats.to_write(NOW + seconds)
        assert work is not None
        keeper.write(list(work.rows))
        keeper.stats.written()
    await keeper.upkeep.tidy()
    assert len(keeper.minutes()) < 80


async def test_what_is_too_old_is_forgotten_in_steps(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper.write([row._replace(minute=row.minute - 1600) for row in a_day(3, 60)])
    keeper.write(a_day(1, 1))
    monkeypatch.setattr(store_stats, "MAX_FORGOTTEN", 50)
    deleted: list[int] = []
    forget = store_stats.forget

    def spy(transaction: Any, minute: int) -> int:
        deleted.append(forget(transaction, minute))
        return deleted[-1]

    monkeypatch.setattr(module, "forget", spy)
    await keeper.upkeep.tidy()
    assert deleted == [50, 50, 50, 30]
    assert keeper.minutes() == [THIS_MINUTE - 1]


async def test_a_tracker_that_was_replaced_changes_nothing(keeper: Keeper) -> None:
    rows = a_day(pairs=1, minutes=200)
    keeper.write(rows)
    keeper.store.begin_epoch(NOW)
    await asyncio.wait_for(keeper.upkeep.run(), 10)
    assert len(keeper.minutes()) == len(rows)


def test_one_write_has_few_rows_and_the_others_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minute_rows, "MAX_ROWS", 10)
    stats = Stats()
    stats.restore([], NOW)
    for number in range(35):
        note(stats, NOW, f"type_{number}")
    written: list[str] = []
    now = NOW
    while stats.write_due < now + 1:
        now = max(now, stats.write_due)
        work = stats.to_write(now)
        if work is None:
            continue
        assert len(work.rows) <= 10
        written += [row.task_type for row in work.rows]
        stats.written()
    assert sorted(written) == sorted(f"type_{number}" for number in range(35))
