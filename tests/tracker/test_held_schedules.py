"""A schedule that cannot be computed or stored holds back only itself, and loses no time."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from raytasks.handling import schedule_times
from raytasks.model.schedule_specs import CatchUp, ScheduleKey, ScheduleRow, ScheduleSpec
from raytasks.model.tasks import RaytasksError, StateConflict, StoreUnavailable, TimesRefused
from raytasks.protocol.commands import (
    ClearSchedule,
    PauseSchedule,
    ResumeSchedule,
    RunSchedule,
    SetSchedule,
)
from raytasks.protocol.queries import AuditList, Health, Metrics, ScheduleErrors
from raytasks.tracker.core import Tracker
from tests.tracker.test_schedules import (
    HOUR,
    START,
    Clock,
    all_tasks,
    begin,
    shown,
    spec,
    tick,
    times,
    version,
)
from tests.tracking import FaultyStore, tracker_on

ZONE = "Europe/Berlin"  # its hours are those of UTC
ERROR = "timezone: there is no time zone 'Europe/Berlin'; give one as in Europe/Berlin"
RETRY = 60.0


class Zones:
    """The time zones of this machine: all that there are, but those that are `missing`."""

    def __init__(self) -> None:
        self.missing: set[str] = set()
        self.asked = 0

    def __call__(self, name: str) -> ZoneInfo:
        self.asked += 1
        if name in self.missing:
            raise ZoneInfoNotFoundError(f"No time zone found with key {name}")
        return ZoneInfo(name)


class FussyStore(FaultyStore):
    """A store that refuses the schedules of some names."""

    refused: frozenset[str] = frozenset()
    writes = 0

    def write_schedules(self, epoch: int, rows: Sequence[ScheduleRow], *others: Any) -> Any:
        self.writes += 1
        if self.refused & {row.name for row in rows}:
            raise ValueError("no such text")
        return super().write_schedules(epoch, rows, *others)


@pytest.fixture
def store(store_url: str) -> Iterator[FussyStore]:
    """The tracker's store, on a database of each kind."""
    opened = FussyStore(store_url)
    yield opened
    opened.close()


@pytest.fixture
def zones(monkeypatch: pytest.MonkeyPatch) -> Zones:
    """The time zones that the tracker knows."""
    found = Zones()
    monkeypatch.setattr(schedule_times, "ZoneInfo", found)
    return found


def there(**changes: Any) -> ScheduleSpec:
    """An hourly schedule in a time zone that may be missing."""
    return spec(timezone=ZONE, **changes)


async def reasons(tracker: Tracker) -> list[dict[str, Any]]:
    """The reasons of `/health` about schedules."""
    found = (await tracker.read(Health()))["reasons"]
    return [reason for reason in found if reason["code"] == "schedule_stands"]


async def errors(tracker: Tracker) -> dict[str, str]:
    """Why schedules stand still, by name."""
    return await tracker.read(ScheduleErrors("default"))


class TestDeclared:
    """A version declares a schedule that the tracker cannot compute."""

    async def test_the_others_and_commands_go_on(
        self, store: FussyStore, zones: Zones, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        zones.missing.add(ZONE)
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, bad=there(), hourly=spec())
            await tracker.execute(SetSchedule("default", "mine", spec(), "anna"))
            for hour in (1, 2, 3):
                clock.now = START + hour * HOUR
                await tick(tracker)
            made = [(task.schedule, task.scheduled_for) for task in all_tasks(store)]
            for hour in (1, 2, 3):
                assert ("hourly", START + hour * HOUR) in made
                assert ("mine", START + hour * HOUR) in made
            assert len(made) == 6
            [reason] = await reasons(tracker)
            assert f"bad of the namespace default ({ERROR})" in reason["message"]
            assert "tzdata" in reason["fix"]
            assert (reason["since"], reason["count"]) == (START + 60, 1)
            assert await errors(tracker) == {"bad": ERROR}
            metrics = await tracker.read(Metrics())
            assert (metrics.schedules, metrics.held_schedules) == ((2, 0, HOUR), 1)
        told = [item for item in caplog.messages if "stands still" in item and "bad" in item]
        assert len(told) == 1
        assert ERROR in told[0]

    @pytest.mark.parametrize(
        ("catch_up", "made"),
        [(CatchUp.NONE, []), (CatchUp.LAST, [3]), (CatchUp.ALL, [1, 2, 3])],
    )
    @pytest.mark.parametrize("again", [False, True])
    async def test_its_times_since_then_count_when_it_is_mended(
        self, store: FussyStore, zones: Zones, catch_up: CatchUp, made: list[int], again: bool
    ) -> None:
        """Also if the tracker was started again meanwhile."""
        zones.missing.add(ZONE)
        clock, bad = Clock(), there(catch_up=catch_up)
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, bad=bad)
            clock.now = START + 3 * HOUR + 600
            await tick(tracker)
            if not again:
                zones.missing.clear()
                clock.now += RETRY
                await tick(tracker)
        if again:
            async with tracker_on(store, clock=clock) as tracker:
                await begin(tracker, bad=bad)
                await tick(tracker)
                assert await errors(tracker) == {"bad": ERROR}
                zones.missing.clear()
                clock.now += RETRY
                await tick(tracker)
                assert await errors(tracker) == {}
                assert await reasons(tracker) == []
                row = await shown(tracker, "bad")
                assert row is not None
                assert row.next_at == START + 4 * HOUR
        assert times(all_tasks(store)) == [START + hour * HOUR for hour in made]

    async def test_one_that_is_mended_in_time_fires_at_its_time(
        self, store: FussyStore, zones: Zones
    ) -> None:
        zones.missing.add(ZONE)
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, bad=there())
            await tick(tracker)
            zones.missing.clear()
            clock.now += RETRY
            await tick(tracker)
            row = await shown(tracker, "bad")
            assert row is not None
            assert (row.has_next, row.next_at) == (True, START + HOUR)
            assert all_tasks(store) == []
            clock.now = START + HOUR
            await tick(tracker)
            assert times(all_tasks(store)) == [START + HOUR]

    async def test_another_version_that_mends_it_is_in_force_at_once(
        self, store: FussyStore, zones: Zones
    ) -> None:
        zones.missing.add(ZONE)
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, hourly=spec())
            await begin(tracker, hourly=there())
            await tick(tracker)
            row = await shown(tracker)
            assert row is not None
            assert (row.declared, row.has_next) == (there(), False)
            clock.now = START + HOUR
            await tick(tracker)
            assert all_tasks(store) == []  # what is no longer declared does not fire
            await begin(tracker, hourly=spec())
            await tick(tracker)
            assert await errors(tracker) == {}
            clock.now = START + 2 * HOUR
            await tick(tracker)
            assert times(all_tasks(store)) == [START + 2 * HOUR]

    async def test_any_error_holds_only_one(
        self, store: FussyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = schedule_times.times_after

        def fails(timing: schedule_times.Timing, after: float) -> Iterator[float]:
            if timing.cron == "1 * * * *":
                raise OverflowError("too far")
            return found(timing, after)

        monkeypatch.setattr(schedule_times, "times_after", fails)
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, bad=spec(cron="1 * * * *"), hourly=spec())
            clock.now = START + HOUR
            await tick(tracker)
            assert times(all_tasks(store)) == [START + HOUR]
            assert await errors(tracker) == {"bad": "OverflowError: too far"}

    async def test_what_the_database_refuses_holds_only_itself(
        self, store: FussyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.refused = frozenset({"bad"})
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, old=spec())
            schedules = tracker.ticker.background.schedules
            tracker.set_handlers(version(bad=spec(), hourly=spec()))
            row = await tracker.execute(SetSchedule("default", "mine", spec(), "anna"))
            assert row.override == spec()
            assert set(tracker.ticker.schedules.rows) == {
                ScheduleKey("default", "hourly"),
                ScheduleKey("default", "mine"),
            }
            assert not schedules.in_force.is_set()
            [reason] = await reasons(tracker)
            assert "bad of the namespace default (ValueError: no such text)" in reason["message"]
            writes = store.writes
            await tick(tracker)
            assert store.writes == writes
            clock.now += RETRY
            await tick(tracker)
            await tick(tracker)
            assert store.writes > writes
            assert caplog.text.count("bad of the namespace default stands still") == 1
            store.refused = frozenset()
            clock.now += RETRY
            await tick(tracker)
            await tick(tracker)
            assert schedules.in_force.is_set()
            assert await reasons(tracker) == []
            assert ScheduleKey("default", "bad") in tracker.ticker.schedules.rows


class TestFiring:
    """The zone data is lost while a schedule is in force."""

    @pytest.mark.parametrize(
        ("catch_up", "made"),
        [(CatchUp.NONE, []), (CatchUp.LAST, [3]), (CatchUp.ALL, [1, 2, 3])],
    )
    async def test_no_time_is_lost_or_made_up(
        self, store: FussyStore, zones: Zones, catch_up: CatchUp, made: list[int]
    ) -> None:
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, bad=there(catch_up=catch_up), other=spec(cron="30 * * * *"))
            zones.missing.add(ZONE)
            for hour in (1, 2, 3):
                clock.now = START + hour * HOUR
                await tick(tracker)
                row = await shown(tracker, "bad")
                assert row is not None
                assert row.next_at == START + HOUR
            assert await errors(tracker) == {"bad": ERROR}
            zones.missing.clear()
            clock.now = START + 3 * HOUR + 600
            await tick(tracker)
            await tick(tracker)
            row = await shown(tracker, "bad")
            assert row is not None
            assert row.next_at == START + 4 * HOUR
            assert await errors(tracker) == {}
            found = [task for task in all_tasks(store) if task.schedule == "bad"]
            assert times(found) == [START + hour * HOUR for hour in made]

    async def test_it_is_tried_once_a_minute(self, store: FussyStore, zones: Zones) -> None:
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, bad=there())
            zones.missing.add(ZONE)
            clock.now = START + HOUR
            await tick(tracker)
            assert tracker.ticker.schedules.next_time == clock.now + RETRY
            before = zones.asked
            clock.now += RETRY - 1
            await tick(tracker)
            await tick(tracker)
            assert zones.asked == before
            clock.now += 1
            await tick(tracker)
            await tick(tracker)
            assert zones.asked == before + 1

    async def test_many_that_are_held_delay_no_tick_for_long(
        self, store: FussyStore, zones: Zones
    ) -> None:
        clock = Clock()
        bad = {f"s{number}": there() for number in range(600)}
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, hourly=spec(), **bad)
            zones.missing.add(ZONE)
            clock.now = START + HOUR
            book, asked = tracker.ticker.schedules, []
            while book.next_time <= clock.now:
                before = zones.asked
                await tick(tracker)
                asked.append(zones.asked - before)
            assert max(asked) <= 500  # of two ticks
            assert len(book.held) == 600
            assert times(all_tasks(store)) == [START + HOUR]

    async def test_a_tick_that_fails_when_it_is_mended_is_done_again(
        self, store: FussyStore, zones: Zones
    ) -> None:
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, bad=there())
            zones.missing.add(ZONE)
            clock.now = START + HOUR
            await tick(tracker)
            zones.missing.clear()
            failed: list[bool] = []

            def fail() -> None:
                if not failed:
                    failed.append(True)
                    raise StoreUnavailable("for a moment")

            store.before_commit = fail
            clock.now += RETRY
            tracker.ticker.wake.set()
            while not failed or all_tasks(store) == []:
                await tracker.ticker.access.read(lambda: None)
            await tick(tracker)
            assert times(all_tasks(store)) == [START + HOUR]
            assert await errors(tracker) == {}

    async def test_a_person_may_run_pause_or_change_it(
        self, store: FussyStore, zones: Zones
    ) -> None:
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, hourly=there())
            zones.missing.add(ZONE)
            clock.now = START + HOUR
            await tick(tracker)
            made = await tracker.execute(RunSchedule("default", "hourly", "ben"))
            assert [task.task_id for task in all_tasks(store)] == [made]
            assert await errors(tracker) == {"hourly": ERROR}
            await tracker.execute(PauseSchedule("default", "hourly", "ben"))
            assert await errors(tracker) == {}
            row = await tracker.execute(SetSchedule("default", "hourly", spec(), "ben"))
            assert row.next_at == START + 2 * HOUR
            await tracker.execute(ResumeSchedule("default", "hourly", "ben"))
            clock.now = START + 2 * HOUR
            await tick(tracker)
            assert times(all_tasks(store)) == [START + HOUR, START + 2 * HOUR]


class TestPersons:
    """A command that cannot be computed is refused, and changes nothing."""

    async def test_to_set_it_names_the_field(self, store: FussyStore, zones: Zones) -> None:
        zones.missing.add(ZONE)
        async with tracker_on(store, clock=Clock()) as tracker:
            await begin(tracker, hourly=there())
            for name in ("new", "hourly"):
                with pytest.raises(TimesRefused) as raised:
                    await tracker.execute(SetSchedule("default", name, there(priority=1), "anna"))
                assert raised.value.fault == tuple(f"/{ERROR}".split(": "))
            await self.unchanged(tracker)

    async def test_any_other_error_is_told(
        self, store: FussyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*_: object) -> Iterator[float]:
            raise OverflowError("too far")

        async with tracker_on(store, clock=Clock()) as tracker:
            await begin(tracker, hourly=spec())
            with monkeypatch.context() as patch:
                patch.setattr(schedule_times, "times_after", fails)
                with pytest.raises(TimesRefused, match="OverflowError: too far") as raised:
                    await tracker.execute(SetSchedule("default", "new", spec(), "anna"))
            assert raised.value.fault == ("", "OverflowError: too far")
            await self.unchanged(tracker)

    async def test_to_resume_it(self, store: FussyStore, zones: Zones) -> None:
        async with tracker_on(store, clock=Clock()) as tracker:
            await begin(tracker, hourly=there())
            await tracker.execute(PauseSchedule("default", "hourly", "anna"))
            zones.missing.add(ZONE)
            with pytest.raises(StateConflict, match=r"hourly cannot go on.*timezone: there is no"):
                await tracker.execute(ResumeSchedule("default", "hourly", "anna"))
            row = await shown(tracker)
            assert row is not None
            assert row.paused_by == "anna"
            zones.missing.clear()
            resumed = await tracker.execute(ResumeSchedule("default", "hourly", "anna"))
            assert resumed is not None
            assert resumed.paused_at is None

    async def test_to_return_to_the_code(self, store: FussyStore, zones: Zones) -> None:
        clock = Clock()
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, hourly=there())
            await tracker.execute(SetSchedule("default", "hourly", spec(priority=1), "anna"))
            zones.missing.add(ZONE)
            with pytest.raises(StateConflict, match="timezone: there is no time zone"):
                await tracker.execute(ClearSchedule("default", "hourly", "anna"))
            clock.now = START + HOUR
            await tick(tracker)
            [task] = all_tasks(store)
            assert task.priority == 1  # what was set is still in force

    async def test_to_run_it(self, store: FussyStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """A task that cannot be made is told to who has asked; ticks go on."""
        async with tracker_on(store, clock=Clock()) as tracker:
            await begin(tracker, hourly=spec())

            def fails(*_: object) -> None:
                raise ValueError("too many digits")

            monkeypatch.setattr("raytasks.tracker.schedule_book.limit_values_again", fails)
            with pytest.raises(RaytasksError, match="ValueError: too many digits"):
                await tracker.execute(RunSchedule("default", "hourly", "ben"))
            await tick(tracker)

    async def unchanged(self, tracker: Tracker) -> None:
        """See that nothing was set, and that other commands are executed."""
        assert set(tracker.ticker.schedules.rows) == {ScheduleKey("default", "hourly")}
        row = await shown(tracker)
        assert row is not None
        assert row.override is None
        assert (await tracker.read(AuditList())).entries == []
        row = await tracker.execute(SetSchedule("default", "other", spec(every_seconds=60), "anna"))
        assert row.by == "anna"
