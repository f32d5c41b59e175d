"""A new version changes the keyed limits of a type: waiting tasks move to their new lanes."""

from typing import Any

import pytest
from msgspec.structs import replace

from raytasks.model.bulk_operations import NewBulk
from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.lane_names import lane_of
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import NewTask, Task
from raytasks.protocol.commands import RetryTask, StartBulk
from raytasks.protocol.queries import TasksById, WaitingFor
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from raytasks.tracker.lane_moves import LaneMoves
from tests.making import NOW, bulk_filter, new_task, outcome, task_id
from tests.tracking import FaultyStore, ScriptedRunner, let_run, tracker_on, until

ORDERED = Limit("who", running=1, by="/who", ordered=True)
PAYLOAD, VALUES = '{"who":"a"}', '{"who":"a"}'


def version(*limits: Limit) -> list[HandlerInfo]:
    """Return handlers of one type with these limits."""
    return [HandlerInfo("short", HandlerKind.FUNCTION, (0, 1), limits=limits)]


def placed(number: int, **changes: Any) -> NewTask:
    """Return a submission as the code with the limit `who` makes it."""
    lane = lane_of("default", VALUES)
    return new_task(number, payload=PAYLOAD, limit_values=VALUES, lane=lane, **changes)


async def stored(tracker: Tracker, number: int) -> Task:
    """Return a task as it is on disk."""
    return (await tracker.read(TasksById([task_id(number)])))[task_id(number)]


def no_moves(patch: pytest.MonkeyPatch) -> None:
    """Hold up the moves, as ticks do that have much to do."""
    patch.setattr(LaneMoves, "_has_some", False)


async def settled(tracker: Tracker) -> None:
    """Wait until no moves are left."""
    while tracker.ticker.ledger.claims.moves.any:
        await let_run()


async def test_waiting_tasks_get_the_keys_of_a_new_version(tracker: Tracker) -> None:
    tracker.set_handlers(version())
    tasks = [new_task(number, payload=f'{{"who":{number % 2}}}') for number in range(6)]
    await tracker.submit(tasks)
    tracker.set_handlers(version(Limit("who", running=1, by="/who")))
    await settled(tracker)
    rows = {row.lane: row.waiting for row in tracker.ticker.ledger.lanes.rows()}
    assert rows == {lane_of("default", f'{{"who":{key}}}'): 3 for key in (0, 1)}
    runner = ScriptedRunner(tracker, short=6)
    tracker.fleet.averages.add("short", 0.001)
    assert sorted(claim.task_id for claim in await runner.claim()) == [task_id(0), task_id(1)]
    await runner.hang_up()


async def test_what_has_no_usable_value_has_null(tracker: Tracker) -> None:
    tracker.set_handlers(version())
    await tracker.submit([new_task(1, payload='{"who":[1]}'), new_task(2, payload='{"who":"a"}')])
    tracker.set_handlers(version(Limit("who", running=1, by="/who")))
    await settled(tracker)
    lanes = {row.lane for row in tracker.ticker.ledger.lanes.rows()}
    assert lanes == {lane_of("default", f'{{"who":{value}}}') for value in ("null", '"a"')}


async def test_a_version_without_keys_puts_all_into_one_lane(tracker: Tracker) -> None:
    limit = Limit("who", running=1, by="/who")
    tracker.set_handlers(version(limit))
    values = '{"who":"a"}'
    await tracker.submit([new_task(1, limit_values=values, lane=lane_of("default", values))])
    tracker.set_handlers(version())
    await settled(tracker)
    assert [row.lane for row in tracker.ticker.ledger.lanes.rows()] == [""]


async def test_what_was_given_stays_unless_the_place_has_changed(tracker: Tracker) -> None:
    tracker.set_handlers(version(Limit("who", running=1, by="/who")))
    given = '{"who":"given"}'
    task = new_task(1, payload='{"who":"a","to":"b"}', limit_values=given)
    await tracker.submit([replace(task, lane=lane_of("default", given))])
    both = [Limit("who", running=1, by="/who"), Limit("to", running=1, by="/to")]
    tracker.set_handlers(version(*both))
    await settled(tracker)
    [row] = tracker.ticker.ledger.lanes.rows()
    assert row.limit_values == '{"to":"b","who":"given"}'
    tracker.set_handlers(version(Limit("who", running=1, by="/to")))
    await settled(tracker)
    [row] = tracker.ticker.ledger.lanes.rows()
    assert row.limit_values == '{"who":"b"}'


async def test_a_later_tracker_goes_on(sqlite_url: str, clock: FakeClock) -> None:
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
        await tracker.submit([new_task(1, payload='{"who":"a"}')])
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
        tracker.set_handlers(version(Limit("who", running=1, by="/who")))
        await settled(tracker)
        [row] = tracker.ticker.ledger.lanes.rows()
        assert row.limit_values == '{"who":"a"}'


async def test_what_comes_due_later_is_moved_too(tracker: Tracker, clock: FakeClock) -> None:
    tracker.set_handlers(version())
    await tracker.submit([new_task(1, payload='{"who":"a"}')])
    [claim] = await ScriptedRunner(tracker, short=1).claim()
    tracker.set_handlers(version(Limit("who", running=1, by="/who")))
    await settled(tracker)
    tracker.mark_lost("r1", "died")
    while not list(tracker.ticker.ledger.lanes.rows()):
        await let_run()
    await settled(tracker)
    [row] = tracker.ticker.ledger.lanes.rows()
    assert (row.limit_values, claim.attempt) == ('{"who":"a"}', 1)


class TestWhatComesFromTheFormerVersion:
    """The key "a" is taken by a running task; nothing else of it begins, whatever brings it."""

    @pytest.fixture
    async def runner(self, tracker: Tracker) -> ScriptedRunner:
        """A runner that runs the first task of the key, in the version with the limit."""
        tracker.fleet.averages.add("short", 0.001)
        return ScriptedRunner(tracker, short=10)

    async def test_a_submission(self, tracker: Tracker, runner: ScriptedRunner) -> None:
        tracker.set_handlers(version(ORDERED))
        await tracker.submit([placed(1)])
        [first] = await runner.claim()
        call = runner.send()
        await let_run()
        late = [new_task(2, payload=PAYLOAD), new_task(3, payload='{"who":"b"}')]
        await tracker.submit(late)
        assert [claim.task_id for claim in (await call).claims] == [task_id(3)]
        assert set(tracker.fleet.running) == {first.task_id, task_id(3)}
        assert (await stored(tracker, 2)).limit_values == VALUES

    async def test_a_submission_keeps_what_was_given(self, tracker: Tracker) -> None:
        tracker.set_handlers(version(ORDERED, Limit("to", running=1, by="/to")))
        given = '{"old":1,"who":"given"}'
        lane = lane_of("default", given)
        payload = '{"who":"a","to":"b"}'
        await tracker.submit([new_task(1, payload=payload, limit_values=given, lane=lane)])
        assert (await stored(tracker, 1)).limit_values == '{"to":"b","who":"given"}'

    async def test_a_submission_for_a_type_without_limits(self, tracker: Tracker) -> None:
        tracker.set_handlers(version())
        await tracker.submit([placed(1)])
        task = await stored(tracker, 1)
        assert task.limit_values is None
        assert [row.lane for row in tracker.ticker.ledger.lanes.rows()] == [""]

    async def test_a_payload_that_cannot_be_read_has_null(self, tracker: Tracker) -> None:
        tracker.set_handlers(version(ORDERED))
        await tracker.submit([new_task(1, payload='{"who":' + 5000 * "1" + "}")])
        assert (await stored(tracker, 1)).limit_values == '{"who":null}'

    async def test_what_was_scheduled_before(
        self,
        tracker: Tracker,
        runner: ScriptedRunner,
        clock: FakeClock,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        tracker.set_handlers(version())
        await tracker.submit([new_task(n, payload=PAYLOAD, run_at=NOW + 100) for n in (1, 2)])
        tracker.set_handlers(version(ORDERED))
        await settled(tracker)
        await tracker.submit([placed(9)])
        await runner.claim()
        runner.send()
        with monkeypatch.context() as patch:
            no_moves(patch)
            clock.advance(101)
            tracker.ticker.wake.set()
            await self.is_ready(tracker)
            query = WaitingFor(task_id(1), "short", NOW, "default", None)
            while not (found := await tracker.read(query)):
                await let_run()
            reason = found[0] if found[0]["code"] == "limit_full" else found[1]
            assert reason["details"] == {"limit": None, "key": None, "task_type": "short"}
            assert "gets its values" in reason["message"]
            assert set(tracker.fleet.running) == {task_id(9)}
        await self.are_moved(tracker)
        assert set(tracker.fleet.running) == {task_id(9)}
        assert (await stored(tracker, 1)).limit_values == VALUES

    @pytest.mark.parametrize("way", ["retry", "bulk", "release", "change"])
    async def test_what_waits_again(
        self,
        tracker: Tracker,
        runner: ScriptedRunner,
        clock: FakeClock,
        monkeypatch: pytest.MonkeyPatch,
        way: str,
    ) -> None:
        tracker.set_handlers(version())
        await tracker.submit([new_task(1, payload=PAYLOAD, run_at=NOW + (way == "change"))])
        if way != "change":
            [claim] = await runner.claim()
            if way != "release":
                await runner.send([outcome(claim, OutcomeKind.FAILED, retryable=False)])
        tracker.set_handlers(version(ORDERED))
        await tracker.submit([placed(9)])
        runner.send()
        await until(tracker, 9, State.RUNNING)
        with monkeypatch.context() as patch:
            no_moves(patch)
            if way == "retry":
                await tracker.execute(RetryTask(task_id(1)))
            elif way == "bulk":
                await tracker.execute(StartBulk(NewBulk(task_id(900), bulk_filter("retry"), NOW)))
            elif way == "release":
                runner.send([outcome(claim, OutcomeKind.RELEASED)])
            else:
                clock.advance(2)
                tracker.ticker.wake.set()
            await self.is_ready(tracker)
            for _ in range(3):
                runner.send()
                await let_run()
            assert set(tracker.fleet.running) == {task_id(9)}
        await self.are_moved(tracker)
        assert set(tracker.fleet.running) == {task_id(9)}
        assert (await stored(tracker, 1)).limit_values == VALUES

    async def is_ready(self, tracker: Tracker) -> None:
        """Wait until something is ready in the lane of the former version."""
        while not any(row.lane == "" for row in tracker.ticker.ledger.lanes.rows()):
            await let_run()

    async def are_moved(self, tracker: Tracker) -> None:
        """Let the moves go on, and wait until they are done."""
        tracker.ticker.wake.set()
        await settled(tracker)
