"""The firing of schedules: one task for each time, whatever happens to the tracker."""

import asyncio
import math
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.schedule_specs import (
    CatchUp,
    DeclaredSchedule,
    Overlap,
    ScheduleKey,
    ScheduleRow,
    ScheduleSpec,
)
from raytasks.model.states import State
from raytasks.model.tasks import StoreUnavailable, Task
from raytasks.protocol import codec
from raytasks.protocol.commands import (
    ClearSchedule,
    DeleteTask,
    PauseSchedule,
    ResumeSchedule,
    RunSchedule,
    SetSchedule,
)
from raytasks.protocol.queries import AuditList, ScheduleList
from raytasks.tracker import schedule_writes
from raytasks.tracker.core import Tracker
from raytasks.tracker.schedule_book import task_id_of
from tests.making import new_task, outcome, task_id, task_query
from tests.tracking import PATIENCE, FaultyStore, ScriptedRunner, tracker_on

HOUR = 3600.0
START = 1_800_000_000.0 - 1_800_000_000.0 % HOUR  # on the hour
KEY = ScheduleKey("default", "hourly")


@pytest.fixture
def store(store_url: str) -> Iterator[FaultyStore]:
    """The tracker's store, on a database of each kind."""
    opened = FaultyStore(store_url)
    yield opened
    opened.close()


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float = START + 60) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def spec(**changes: Any) -> ScheduleSpec:
    """An hourly schedule."""
    values: dict[str, Any] = {"task_type": "short", "payload": '{"a":1}', "max_attempts": 3}
    if "every_seconds" not in changes:
        values["cron"] = "0 * * * *"
    return ScheduleSpec(**values | changes)


def version(**schedules: ScheduleSpec) -> list[HandlerInfo]:
    """The handlers of a version that declares these schedules."""
    declared = tuple(
        DeclaredSchedule(ScheduleKey("default", name), found) for name, found in schedules.items()
    )
    return [HandlerInfo("short", HandlerKind.FUNCTION, (0, 0), schedules=declared)]


async def begin(tracker: Tracker, **schedules: ScheduleSpec) -> None:
    """Put a version in force, with its schedules."""
    tracker.set_handlers(version(**schedules))
    async with asyncio.timeout(PATIENCE):
        await tracker.ticker.background.schedules.in_force.wait()


async def tick(tracker: Tracker) -> None:
    """Have a tick, by a command that does nothing."""
    await tracker.prune((), 0.0)


def all_tasks(store: FaultyStore) -> list[Task]:
    """All tasks that are stored."""
    return list(store.read(task_query(limit=5000)).tasks)


def times(found: Iterable[Task]) -> list[float | None]:
    """The times for which tasks were made, in order."""
    return sorted((task.scheduled_for for task in found), key=lambda at: at or 0.0)


def order(number: int) -> RunSchedule:
    """An order to run the schedule now, with the id that its task gets."""
    return RunSchedule("default", "hourly", "ben", task_id(number))


async def shown(tracker: Tracker, name: str = "hourly") -> ScheduleRow | None:
    """A schedule, as it is stored."""
    page = await tracker.read(ScheduleList("default", name))
    return page.schedules[0] if page.schedules else None


async def test_a_schedule_fires_at_each_of_its_times(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec(priority=2, tags='["night"]'))
        await tick(tracker)
        assert all_tasks(store) == []
        for hour in (1, 2):
            clock.now = START + hour * HOUR + 0.25
            await tick(tracker)
            await tick(tracker)
        found = sorted(all_tasks(store), key=lambda task: task.created_at)
        assert times(found) == [START + HOUR, START + 2 * HOUR]
        first = found[0]
        assert (first.schedule, first.priority, first.tags) == ("hourly", 2, '["night"]')
        assert (first.created_at, first.run_at) == (START + HOUR + 0.25, START + HOUR + 0.25)
        row = await shown(tracker)
        assert row is not None
        assert (row.next_at, row.last_for) == (START + 3 * HOUR, START + 2 * HOUR)
        assert row.last_task_id == found[1].task_id
        assert tracker.backlog == 2


async def test_the_tick_comes_at_the_time_by_itself(store: FaultyStore) -> None:
    async with tracker_on(store) as tracker:
        await begin(tracker, hourly=spec(every_seconds=1.0))
        runner = ScriptedRunner(tracker)
        async with asyncio.timeout(PATIENCE):
            [claim] = await runner.claim()
        assert claim.scheduled_for is not None
        assert claim.task_id == task_id_of(KEY, claim.scheduled_for, claim.scheduled_for)


@pytest.mark.parametrize("second", range(-3, 4))
@pytest.mark.parametrize("lost", ["before the commit", "after the commit"])
async def test_a_tracker_that_dies_near_a_time_leaves_one_task(
    store: FaultyStore, second: int, lost: str
) -> None:
    clock, due = Clock(), START + HOUR
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec())
        await tick(tracker)
        reached = threading.Event()

        def die() -> None:
            reached.set()
            if lost == "before the commit":
                raise StoreUnavailable("killed")

        store.before_commit = die
        store.answer_is_lost = lost == "after the commit"
        clock.now = due + second
        dying = asyncio.ensure_future(tick(tracker))
        assert await asyncio.to_thread(reached.wait, PATIENCE)
    store.before_commit, store.answer_is_lost = None, False
    await asyncio.gather(dying, return_exceptions=True)
    for later in (second, second + 1, 10):
        clock.now = due + later
        async with tracker_on(store, clock=clock) as tracker:
            await begin(tracker, hourly=spec())
            await tick(tracker)
    assert times(all_tasks(store)) == [due]


@pytest.mark.parametrize("how", ["retention", "a person"])
async def test_no_time_comes_again_after_its_task_was_deleted(store: FaultyStore, how: str) -> None:
    clock = Clock(START + HOUR - 1)
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec())
        clock.now += 2
        runner = ScriptedRunner(tracker)
        [claim] = await runner.claim()
        runner.send([outcome(claim, at=clock.now)])
        await runner.until_acknowledged(claim.task_id, claim.attempt)
        if how == "retention":
            await tracker.prune([claim.task_id], clock.now + 1)
        else:
            await tracker.execute(DeleteTask(claim.task_id, by="anna"))
        assert all_tasks(store) == []
        await tick(tracker)
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec())
        await tick(tracker)
        assert all_tasks(store) == []


@pytest.mark.parametrize(
    ("catch_up", "number", "made"),
    [
        (CatchUp.NONE, 100, []),
        (CatchUp.LAST, 100, [6]),
        (CatchUp.ALL, 100, [1, 2, 3, 4, 5, 6]),
        (CatchUp.ALL, 2, [5, 6]),
    ],
)
async def test_missed_times(
    store: FaultyStore,
    catch_up: CatchUp,
    number: int,
    made: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of an outage of an hour, with six times in it."""
    clock, minutes = Clock(), 600.0
    catching = spec(cron="*/10 * * * *", catch_up=catch_up, max_catch_up=number)
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=catching)
    clock.now = START + 6 * minutes + 360
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=catching)
        await tick(tracker)
        assert times(all_tasks(store)) == [START + minutes * time for time in made]
        row = await shown(tracker)
        assert row is not None
        assert row.next_at == START + 7 * minutes
    left_out = 6 - len(made)
    assert (f"leaves out {left_out} times" in caplog.text) == (left_out > 0)


async def test_a_time_that_is_a_little_late_is_not_missed(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec())
    clock.now = START + HOUR + 299
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec())
        await tick(tracker)
    assert times(all_tasks(store)) == [START + HOUR]


async def test_a_task_of_a_schedule_expires_by_itself(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec(expires_seconds=60.0))
        clock.now = START + HOUR
        await tick(tracker)
        [task] = all_tasks(store)
        assert task.state is State.PENDING
        clock.now += 60.0
        await tick(tracker)
        [task] = all_tasks(store)
        assert (task.state, task.finished_at) == (State.CANCELLED, clock.now)
        assert tracker.ticker.ledger.next_expiry is None


async def test_a_schedule_that_people_have_changed_fires_once(
    store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The next time is the same after all of these orders."""
    clock = Clock()
    orders = [
        SetSchedule("default", "hourly", spec(priority=3), "anna"),
        PauseSchedule("default", "hourly", "anna"),
        ResumeSchedule("default", "hourly", "anna"),
        ClearSchedule("default", "hourly", "anna"),
    ]
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec())
        for order in orders:
            await tracker.execute(order)
        for hour in (1, 2):
            clock.now = START + hour * HOUR
            await tick(tracker)
        assert times(all_tasks(store)) == [START + HOUR, START + 2 * HOUR]
    assert "differ" not in caplog.text


async def test_overlap_skip_waits_for_the_last_task(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec(overlap=Overlap.SKIP))
        for hour in (1, 2, 3):
            clock.now = START + hour * HOUR
            await tick(tracker)
        assert times(all_tasks(store)) == [START + HOUR]
        runner = ScriptedRunner(tracker)
        [claim] = await runner.claim()
        runner.send([outcome(claim, at=clock.now)])
        await runner.until_acknowledged(claim.task_id, claim.attempt)
        clock.now = START + 4 * HOUR
        await tick(tracker)
        assert times(all_tasks(store)) == [START + HOUR, START + 4 * HOUR]


async def test_a_full_backlog_holds_up_no_schedule(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock, max_backlog=0) as tracker:
        await begin(tracker, hourly=spec())
        clock.now = START + HOUR
        await tick(tracker)
        assert times(all_tasks(store)) == [START + HOUR]


async def test_every_seconds_do_not_drift(store: FaultyStore) -> None:
    clock = Clock(START)
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec(every_seconds=0.1 + 59.9))
        for number in range(1, 20):
            clock.now = START + number * 60.0 + 7
            await tick(tracker)
        assert times(all_tasks(store)) == [START + number * 60.0 for number in range(1, 20)]


async def test_what_a_version_no_longer_declares_ends(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec(), other=spec(cron="30 * * * *"))
        await begin(tracker, other=spec(cron="30 * * * *", priority=5))
        clock.now = START + HOUR / 2
        await tick(tracker)
        assert await shown(tracker) is None
        [task] = all_tasks(store)
        assert (task.schedule, task.priority) == ("other", 5)
        assert task.scheduled_for == START + HOUR / 2


async def test_what_is_set_overrides_the_code_and_survives_versions(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec())
        mine = spec(cron="15 * * * *", payload='{"a":2}')
        row = await tracker.execute(SetSchedule("default", "hourly", mine, "anna"))
        assert (row.spec, row.declared, row.by) == (mine, spec(), "anna")
        await begin(tracker, hourly=spec(priority=1))
        clock.now = START + 900
        await tick(tracker)
        assert [task.payload for task in all_tasks(store)] == ['{"a":2}']
        await begin(tracker)  # no longer declared, but set
        clock.now += HOUR
        await tick(tracker)
        assert len(all_tasks(store)) == 2
        await begin(tracker, hourly=spec())
        cleared = await tracker.execute(ClearSchedule("default", "hourly", "ben"))
        assert cleared is not None
        assert (cleared.spec, cleared.next_at) == (spec(), START + 2 * HOUR)
        page = await tracker.read(AuditList())
        assert [(item.action, item.namespace, item.target, item.by) for item in page.entries] == [
            ("clear_schedule", "default", "hourly", "ben"),
            ("set_schedule", "default", "hourly", "anna"),
        ]


async def test_what_is_set_alone_ends_when_it_is_cleared(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker)
        await tracker.execute(SetSchedule("default", "hourly", spec(), "anna"))
        assert await tracker.execute(ClearSchedule("default", "hourly", "anna")) is None
        assert await tracker.execute(ClearSchedule("default", "hourly", "anna")) is None
        clock.now = START + HOUR
        await tick(tracker)
        assert all_tasks(store) == []
        assert len((await tracker.read(AuditList())).entries) == 2


async def test_a_paused_schedule_lets_its_times_pass(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec(catch_up=CatchUp.ALL))
        paused = await tracker.execute(PauseSchedule("default", "hourly", "anna"))
        assert paused is not None
        assert (paused.paused_at, paused.paused_by) == (clock.now, "anna")
        clock.now = START + 3 * HOUR + 1
        await tick(tracker)
        await begin(tracker, hourly=spec(catch_up=CatchUp.ALL, priority=1))
        await tick(tracker)
        assert all_tasks(store) == []
        await tracker.execute(ResumeSchedule("default", "hourly", "anna"))
        await tick(tracker)
        assert all_tasks(store) == []
        clock.now = START + 4 * HOUR
        await tick(tracker)
        assert times(all_tasks(store)) == [START + 4 * HOUR]


async def test_a_person_runs_a_schedule_now(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker, hourly=spec())
        await tracker.execute(PauseSchedule("default", "hourly", "anna"))
        clock.now += 1
        made = await tracker.execute(RunSchedule("default", "hourly", "ben"))
        [task] = all_tasks(store)
        assert (task.task_id, task.schedule, task.scheduled_for) == (made, "hourly", clock.now)
        assert await tracker.execute(RunSchedule("default", "none", "ben")) is None
        newest = (await tracker.read(AuditList())).entries[0]
        assert (newest.action, newest.target, newest.by) == ("run_schedule", "hourly", "ben")
        row = await shown(tracker)
        assert row is not None
        assert (row.next_at, row.last_task_id) == (START + HOUR, made)


async def test_an_order_whose_commit_is_in_doubt_is_carried_out_once(store: FaultyStore) -> None:
    async with tracker_on(store, clock=Clock()) as tracker:
        await begin(tracker, hourly=spec())
        store.answer_is_lost = True
        made = await tracker.execute(RunSchedule("default", "hourly", "ben"))
        await tick(tracker)
        assert [task.task_id for task in all_tasks(store)] == [made]
        acts = [item.action for item in (await tracker.read(AuditList())).entries]
        assert acts == ["run_schedule"]
        assert tracker.backlog == 1


async def test_each_of_two_orders_gets_a_task_of_its_own(store: FaultyStore) -> None:
    """The first caller gives up while a tick carries out the order."""
    reached, goes_on = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert goes_on.wait(PATIENCE)

    async with tracker_on(store, clock=Clock()) as tracker:
        await begin(tracker, hourly=spec())
        store.before_commit = hold
        first = asyncio.ensure_future(tracker.execute(order(1)))
        assert await asyncio.to_thread(reached.wait, PATIENCE)
        store.before_commit = None
        second = asyncio.ensure_future(tracker.execute(order(2)))
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        goes_on.set()
        made = await second
        found = {task.task_id for task in all_tasks(store)}
        assert made in found
        assert len(found) == 2


async def test_an_order_that_comes_again_makes_no_other_task(store: FaultyStore) -> None:
    """Its answer was lost with the tracker, so the replica sends it to the next one."""
    async with tracker_on(store, clock=Clock()) as tracker:
        await begin(tracker, hourly=spec())
        assert await tracker.execute(order(1)) == order(1).task_id
    async with tracker_on(store, clock=Clock()) as tracker:
        await begin(tracker, hourly=spec())
        first, second = await asyncio.gather(tracker.execute(order(1)), tracker.execute(order(1)))
        assert (first, second) == (order(1).task_id, order(1).task_id)
        assert [task.task_id for task in all_tasks(store)] == [order(1).task_id]
        acts = [item.action for item in (await tracker.read(AuditList())).entries]
        assert acts == ["run_schedule"]


async def test_an_order_for_a_schedule_that_ends_meanwhile_finds_none(store: FaultyStore) -> None:
    async with tracker_on(store, clock=Clock()) as tracker:
        await begin(tracker)
        await tracker.execute(SetSchedule("default", "hourly", spec(), "anna"))
        reached, goes_on = threading.Event(), threading.Event()

        def hold() -> None:
            reached.set()
            assert goes_on.wait(PATIENCE)

        store.before_commit = hold
        ticking = asyncio.ensure_future(tracker.submit([new_task(1)]))
        assert await asyncio.to_thread(reached.wait, PATIENCE)
        store.before_commit = None
        ending = asyncio.ensure_future(tracker.execute(ClearSchedule("default", "hourly", "anna")))
        running = asyncio.ensure_future(tracker.execute(order(1)))
        await asyncio.sleep(0)
        tracker.ticker.schedules.change((), [KEY])  # as if the end had been written first
        assert await running is None
        goes_on.set()
        await asyncio.gather(ticking, ending)
        assert tracker.ticker.schedules.next_time == math.inf


async def test_a_change_that_fails_after_its_caller_has_given_up(
    store: FaultyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule_writes, "_ANSWER_SECONDS", 0.05)
    reached, goes_on = threading.Event(), threading.Event()

    def fail() -> None:
        reached.set()
        assert goes_on.wait(PATIENCE)
        raise StoreUnavailable("it is away")

    async with tracker_on(store, clock=Clock()) as tracker:
        await begin(tracker)
        store.before_commit = fail
        asked = asyncio.ensure_future(
            tracker.execute(SetSchedule("default", "hourly", spec(), "anna"))
        )
        assert await asyncio.to_thread(reached.wait, PATIENCE)
        with pytest.raises(StoreUnavailable, match="away"):
            await asked
        store.before_commit = None
        goes_on.set()
        await tracker.submit([new_task(1)])
        assert len(all_tasks(store)) == 1
        assert tracker.ticker.schedules.rows == {}


async def test_a_change_in_doubt_is_read_again(store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(store, clock=clock) as tracker:
        await begin(tracker)
        store.answer_is_lost = True
        with pytest.raises(StoreUnavailable):
            await tracker.execute(SetSchedule("default", "hourly", spec(), "anna"))
        clock.now = START + HOUR
        await tick(tracker)
        await tick(tracker)
        assert times(all_tasks(store)) == [START + HOUR]


async def test_many_schedules_of_one_time_all_fire(faulty_store: FaultyStore) -> None:
    clock = Clock()
    async with tracker_on(faulty_store, clock=clock) as tracker:
        await begin(tracker, **{f"s{number}": spec() for number in range(1200)})
        clock.now = START + HOUR
        while tracker.ticker.schedules.next_time <= clock.now:
            await tick(tracker)
        found = times(all_tasks(faulty_store))
        assert found == [START + HOUR] * 1200


def test_the_id_of_a_time_is_always_the_same() -> None:
    first = task_id_of(KEY, START, START + 1)
    assert first == task_id_of(KEY, START, START + 1000)
    assert first != task_id_of(KEY, START + 1, START + 1)
    assert first != task_id_of(ScheduleKey("other", "hourly"), START, START + 1)
    assert first[14] == "8"
    assert first < task_id_of(KEY, START + HOUR, START + HOUR)


def test_the_commands_pass_between_processes() -> None:
    command = SetSchedule("default", "hourly", spec(given_values={"who": 3}), "anna")
    assert codec.command_of(codec.encode(command)) == command
