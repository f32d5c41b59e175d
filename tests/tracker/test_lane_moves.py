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
from raytasks.store import relaning
from raytasks.store.relaning import RelaneResult, RelaneStep
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


async def test_what_was_given_stays_wherever_the_limit_looks(tracker: Tracker) -> None:
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
    assert row.limit_values == '{"who":"given"}'


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
        with monkeypatch.context() as patch:
            no_moves(patch)
            tracker.set_handlers(version(ORDERED))
            await tracker.submit([placed(9)])
            await runner.claim()
            runner.send()
            clock.advance(101)
            tracker.ticker.wake.set()
            await self.is_ready(tracker)
            query = WaitingFor(task_id(1), "short", NOW, "default", None)
            while not (found := await tracker.read(query)):
                await let_run()
            reason = found[0] if found[0]["code"] == "limit_full" else found[1]
            assert reason["details"] == {"limit": None, "key": None, "task_type": "short"}
            assert "get their values for them first" in reason["message"]
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
        with monkeypatch.context() as patch:
            no_moves(patch)
            tracker.set_handlers(version(ORDERED))
            await tracker.submit([placed(9)])
            runner.send()
            await until(tracker, 9, State.RUNNING)
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

    async def test_what_is_scheduled_is_moved_before_it_is_due(self, tracker: Tracker) -> None:
        tracker.set_handlers(version())
        await tracker.submit([new_task(1, payload=PAYLOAD, run_at=NOW + 100)])
        tracker.set_handlers(version(ORDERED))
        await settled(tracker)
        assert (await stored(tracker, 1)).limit_values == VALUES

    async def test_what_waited_before_comes_first_in_a_new_order(
        self, tracker: Tracker, runner: ScriptedRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tracker.set_handlers(version())
        await tracker.submit([new_task(1, payload=PAYLOAD)])
        with monkeypatch.context() as patch:
            no_moves(patch)
            tracker.set_handlers(version(ORDERED))
            runner.send()
            for number in (2, 3):
                await tracker.submit([placed(number)])
            assert not tracker.fleet.running
        await runner.hang_up()
        tracker.ticker.wake.set()
        [claim] = await runner.claim()
        assert claim.task_id == task_id(1)

    async def is_ready(self, tracker: Tracker) -> None:
        """Wait until something is ready in the lane of the former version."""
        while not any(row.lane == "" for row in tracker.ticker.ledger.lanes.rows()):
            await let_run()

    async def are_moved(self, tracker: Tracker) -> None:
        """Let the moves go on, and wait until they are done."""
        tracker.ticker.wake.set()
        await settled(tracker)


FROM, TO = Limit("who", running=1, by="/from"), Limit("who", running=1, by="/to")
MAIL = '{"from":"x","to":"y"}'
X, Y, GIVEN = '{"who":"x"}', '{"who":"y"}', '{"who":"given"}'


def mail(number: int, values: str = X, **changes: Any) -> NewTask:
    """Return a submission with these values."""
    lane = lane_of("default", values)
    return new_task(number, payload=MAIL, limit_values=values, lane=lane, **changes)


async def values(tracker: Tracker, *numbers: int) -> list[str | None]:
    """Return the limit values of tasks on disk."""
    return [(await stored(tracker, number)).limit_values for number in numbers]


class TestAnotherPlace:
    """A version looks for the values of a limit elsewhere in payloads."""

    @pytest.mark.parametrize("between", ["nothing", "handler gone", "limit gone", "other limit"])
    async def test_a_later_tracker_knows_it(
        self, sqlite_url: str, clock: FakeClock, between: str
    ) -> None:
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
            tracker.set_handlers(version(FROM))
            await tracker.submit([mail(1), mail(2, GIVEN), mail(3, run_at=NOW + 100)])
            await settled(tracker)
        if between != "nothing":
            async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
                others = {"limit gone": version(), "other limit": version(FROM, ORDERED)}
                tracker.set_handlers(others.get(between, []))
                await settled(tracker)
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
            tracker.set_handlers(version(TO))
            await settled(tracker)
            given = Y if between == "limit gone" else GIVEN
            assert await values(tracker, 1, 2, 3) == [Y, given, Y]
            await tracker.submit([mail(4, X), mail(5, Y)])
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
            tracker.set_handlers(version(TO))
            assert not tracker.ticker.ledger.claims.moves.any, "what is known is not done again"
            assert await values(tracker, 1, 4, 5) == [Y, X, Y]
            tracker.set_handlers(version(FROM))
            await settled(tracker)
            assert await values(tracker, 1, 2, 3, 5) == [X, X if given == Y else GIVEN, X, X]

    async def test_nothing_is_claimed_by_a_former_value(
        self, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tracker.fleet.averages.add("short", 0.001)
        runner = ScriptedRunner(tracker, short=10)
        tracker.set_handlers(version(FROM))
        await tracker.submit([mail(n) for n in (1, 2)])
        with monkeypatch.context() as patch:
            no_moves(patch)
            tracker.set_handlers(version(TO))
            runner.send()
            await let_run()
            for number in (3, 4):
                await tracker.submit([mail(number, Y)])
            assert not tracker.fleet.running
            assert (await tracker.demand(["short"]))["short"].open == 0
            query = WaitingFor(task_id(1), "short", NOW, "default", X)
            reasons = await tracker.read(query) or []
            assert [item["details"]["task_type"] for item in reasons[:1]] == ["short"]
        await runner.hang_up()
        tracker.ticker.wake.set()
        [claim] = await runner.claim()
        assert claim.task_id == task_id(1)
        assert await values(tracker, 1, 2, 3, 4) == [Y, Y, Y, Y]

    async def test_a_later_tracker_goes_on_with_moves(
        self, sqlite_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relaning, "STEP", 2)
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
            tracker.set_handlers(version(FROM))
            await tracker.submit([mail(n) for n in range(6)])
            await settled(tracker)
            real = LaneMoves.done

            def only_one(moves: LaneMoves, step: RelaneStep, result: RelaneResult) -> None:
                real(moves, step, result)
                no_moves(monkeypatch)

            monkeypatch.setattr(LaneMoves, "done", only_one)
            tracker.set_handlers(version(TO))
            while await values(tracker, 0, 1) != [Y, Y]:
                await let_run()
            await tracker.submit([mail(6, Y), mail(7, GIVEN)])
            assert await values(tracker, 5) == [X]
        monkeypatch.undo()
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
            tracker.set_handlers(version(TO))
            await settled(tracker)
            assert await values(tracker, *range(8)) == [*(7 * [Y]), GIVEN]

    @pytest.mark.parametrize("way", ["retry", "bulk", "release"])
    @pytest.mark.parametrize("restarts", [False, True])
    async def test_what_waits_again_gets_its_values(
        self, sqlite_url: str, clock: FakeClock, way: str, *, restarts: bool
    ) -> None:
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
            tracker.set_handlers(version(FROM))
            runner = ScriptedRunner(tracker, short=10)
            await tracker.submit([mail(1)])
            [claim] = await runner.claim()
            if way != "release":
                await runner.send([outcome(claim, OutcomeKind.FAILED, retryable=False)])
            clock.advance(1)
            tracker.set_handlers(version(TO))
            await settled(tracker)
            assert await values(tracker, 1) == [X]
            if not restarts:
                await self.wait_again(tracker, way)
        if restarts:
            async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
                tracker.set_handlers(version(TO))
                await self.wait_again(tracker, way)

    async def wait_again(self, tracker: Tracker, way: str) -> None:
        """Let the task 1 wait again: it has its value from the other place at once."""
        if way == "retry":
            after = await tracker.execute(RetryTask(task_id(1)))
            assert after.limit_values == Y
        elif way == "bulk":
            await tracker.execute(StartBulk(NewBulk(task_id(900), bulk_filter("retry"), NOW)))
        else:
            tracker.release_all()
        while not (rows := list(tracker.ticker.ledger.lanes.rows())):
            await let_run()
        assert [row.limit_values for row in rows] == [Y]
        assert await values(tracker, 1) == [Y]
