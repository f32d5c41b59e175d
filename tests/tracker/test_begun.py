"""From the claim of an attempt to its beginning: what is noted, shown, and survives."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress

import pytest
from msgspec.structs import replace

from raytasks.model.handler_info import REMOTE_POOL, SHARED_POOL
from raytasks.model.states import State
from raytasks.model.tasks import Running
from raytasks.protocol.messages import Claim, Demand, Exchange, Orders, Report
from raytasks.protocol.queries import TaskDetail, TasksById, WaitingFor
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.identity import Identity
from raytasks.testing.clock import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW, new_task, outcome, task_id
from tests.tracking import FaultyStore, ScriptedRunner, let_run, tracker_on, until


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW)


@pytest.fixture
async def tracker(sqlite_url: str, clock: FakeClock) -> AsyncIterator[Tracker]:
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as tracker:
        yield tracker


@pytest.fixture
async def runner(tracker: Tracker) -> AsyncIterator[ScriptedRunner]:
    runner = ScriptedRunner(tracker, pool=REMOTE_POOL)
    yield runner
    await runner.hang_up()


async def claimed(tracker: Tracker, runner: ScriptedRunner) -> Claim:
    await tracker.submit([new_task(1)])
    [claim] = await runner.claim()
    return claim


async def shown(tracker: Tracker) -> tuple[float | None, float | None]:
    task = (await tracker.read(TasksById([task_id(1)])))[task_id(1)]
    return task.claimed_at, task.started_at


async def test_a_warm_attempt_begins_with_its_claim(tracker: Tracker) -> None:
    warm = ScriptedRunner(tracker)
    await claimed(tracker, warm)
    assert await shown(tracker) == (NOW, NOW)
    await warm.hang_up()


async def test_a_remote_attempt_begins_when_its_runner_says_so(
    tracker: Tracker, runner: ScriptedRunner, clock: FakeClock
) -> None:
    claim = await claimed(tracker, runner)
    assert await shown(tracker) == (NOW, None)
    clock.advance(50)
    await runner.begin([claim], NOW + 49)
    assert await shown(tracker) == (NOW, NOW + 49)


async def test_a_beginning_is_noted_once(
    tracker: Tracker, runner: ScriptedRunner, clock: FakeClock
) -> None:
    claim = await claimed(tracker, runner)
    clock.advance(50)
    await runner.begin([claim], NOW + 10)
    await runner.begin([claim], NOW + 20)
    assert await shown(tracker) == (NOW, NOW + 10)


async def test_a_beginning_of_an_earlier_attempt_says_nothing(
    tracker: Tracker, runner: ScriptedRunner, clock: FakeClock
) -> None:
    first = await claimed(tracker, runner)
    tracker.release_all()
    [second] = await runner.claim()
    assert second.attempt == 2
    await runner.exchange(reports=[Report(first.task_id, 1, 7, began_at=NOW)])
    assert (await shown(tracker))[1] is None


async def test_what_never_began_has_no_beginning_afterwards(
    tracker: Tracker, runner: ScriptedRunner
) -> None:
    await claimed(tracker, runner)
    runner.capacity_by_type = {"other": 1}
    tracker.release_all()
    task = await until(tracker, 1, State.PENDING, attempt=1)
    assert (task.claimed_at, task.started_at) == (NOW, None)


async def test_a_task_runner_that_dies_gives_back_what_had_not_begun(
    tracker: Tracker, runner: ScriptedRunner, clock: FakeClock
) -> None:
    await tracker.submit([new_task(1), new_task(2)])
    claims = await runner.claim()
    await runner.begin(claims[:1], NOW)
    tracker.mark_lost(runner.runner_id, "its node died")
    await until(tracker, 2, State.PENDING, attempt=1)
    lost = await until(tracker, 1, State.RETRYING, attempt=1)
    assert lost.crashes == 0


async def test_the_next_tracker_knows_what_has_begun(sqlite_url: str, clock: FakeClock) -> None:
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as first:
        runner = ScriptedRunner(first, pool=REMOTE_POOL)
        await first.submit([new_task(1), new_task(2)])
        claims = await runner.claim()
        clock.advance(5)
        await runner.begin(claims[:1], NOW + 5)
        before = dict(first.fleet.running)
        await runner.hang_up()
    async with tracker_on(FaultyStore(sqlite_url), clock=clock) as second:
        after = second.fleet.running
        assert {name: (item.waits, item.started_at) for name, item in after.items()} == {
            name: (item.waits, item.started_at) for name, item in before.items()
        }
        assert [after[task_id(number)].waits for number in (1, 2)] == [False, True]


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
async def test_times_are_the_trackers_whatever_the_runners_clock_shows(
    tracker: Tracker, runner: ScriptedRunner, clock: FakeClock, skew: float
) -> None:
    claim = await claimed(tracker, runner)
    clock.advance(10)
    began = Report(claim.task_id, 1, 1, began_at=NOW + 8 + skew)
    await runner.exchange(reports=[began], sent_at=NOW + 10 + skew)
    assert await shown(tracker) == (NOW, NOW + 8)
    clock.advance(10)
    ended = runner.build(
        [outcome(claim, started_at=NOW + 8 + skew, finished_at=NOW + 19 + skew)],
        sent_at=NOW + 20 + skew,
    )
    sending = asyncio.ensure_future(tracker.exchange(ended))
    task = await until(tracker, 1, State.COMPLETED)
    sending.cancel()
    found = await tracker.read(TaskDetail(task.task_id))
    assert found is not None
    [attempt] = found[1]
    assert (attempt.started_at, attempt.finished_at) == (NOW + 8, NOW + 19)


async def test_a_clock_that_is_set_makes_no_attempt_that_ends_before_it_begins(
    tracker: Tracker, runner: ScriptedRunner, clock: FakeClock
) -> None:
    """The tracker's clock goes back by an hour while an attempt runs for five seconds."""
    claim = await claimed(tracker, runner)
    clock.advance(-3600)
    said = outcome(claim, started_at=NOW, finished_at=NOW + 5)
    ended = runner.build([said], sent_at=NOW + 6)
    sending = asyncio.ensure_future(tracker.exchange(ended))
    task = await until(tracker, 1, State.COMPLETED)
    sending.cancel()
    assert task.started_at == NOW - 3606
    found = await tracker.read(TaskDetail(task.task_id))
    assert found is not None
    assert found[1][0].finished_at - found[1][0].started_at == 5


class Work:
    """Takes attempts, and runs nothing."""

    def capacity_by_type(self) -> Mapping[str, int]:
        return {"a": 10}

    def capacity(self) -> int:
        return 10

    def start(self, claims: Sequence[Claim]) -> None:
        pass

    def stop(self, task_id: str, attempt: int) -> None:
        pass


class Talk:
    """An exchange loop whose calls are answered by the test."""

    def __init__(self) -> None:
        self.sent: asyncio.Queue[tuple[Exchange, asyncio.Future[Orders]]] = asyncio.Queue()
        self.loop = ExchangeLoop(
            Identity("life", "name", REMOTE_POOL, "g"), Work(), self.call, clock=lambda: 77.0
        )

    async def call(self, exchange: Exchange) -> Orders:
        answer: asyncio.Future[Orders] = asyncio.get_running_loop().create_future()
        self.sent.put_nowait((exchange, answer))
        return await answer

    async def __aenter__(self) -> "Talk":
        self.running = asyncio.ensure_future(self.loop.run())
        _, answer = await self.sent.get()
        answer.set_result(Orders(batch=1, claims=[Claim("t1", "a", 1, "{}", 0, 3, None, None)]))
        await self.sent.get()
        self.loop.begun("t1", 1, 70.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.running.cancel()
        with suppress(asyncio.CancelledError):
            await self.running

    async def next(self) -> tuple[Exchange, "asyncio.Future[Orders]"]:
        async with asyncio.timeout(10):
            return await self.sent.get()


def beginnings(exchange: Exchange) -> list[tuple[str, float | None]]:
    return [(report.task_id, report.began_at) for report in exchange.reports]


class TestOnItsWay:
    """The news of a beginning, until the tracker has it on disk."""

    async def test_it_goes_out_at_once_and_with_the_time_of_the_sender(self) -> None:
        async with Talk() as talk:
            exchange, _ = await talk.next()
            assert (beginnings(exchange), exchange.sent_at) == ([("t1", 70.0)], 77.0)

    async def test_it_is_said_again_to_a_tracker_that_has_not_acknowledged_it(self) -> None:
        async with Talk() as talk:
            _, answer = await talk.next()
            answer.set_result(Orders(batch=1, resync=True))
            exchange, _ = await talk.next()
            assert beginnings(exchange) == [("t1", 70.0)]

    async def test_it_is_not_said_again_once_it_is_on_disk(self) -> None:
        async with Talk() as talk:
            exchange, answer = await talk.next()
            [report] = exchange.reports
            answer.set_result(Orders(batch=1, acknowledged_reports=[report.number], resync=True))
            exchange, _ = await talk.next()
            assert beginnings(exchange) == []

    async def test_a_stale_one_is_forgotten(self) -> None:
        async with Talk() as talk:
            _, answer = await talk.next()
            answer.set_result(Orders(batch=1, stale=[("t1", 1)], resync=True))
            exchange, _ = await talk.next()
            assert beginnings(exchange) == []


def test_a_waiting_attempt_has_no_start() -> None:
    running = Running(task_id(1), "a", 1, "r", NOW, 0, 0, 0, 3, waits=True)
    assert running.started_at is None
    assert replace(running, waits=False, begun_at=NOW + 1).started_at == NOW + 1
    assert replace(running, waits=False).started_at == NOW


WAITS = [
    ("never_fits", "no node of the cluster has CPU: 64"),
    ("no_resources", "no node of the cluster has CPU: 64 free now"),
    ("runner_starting", "Ray is starting a process for it"),
]


@pytest.mark.parametrize(("code", "message"), WAITS, ids=[code for code, _ in WAITS])
async def test_it_says_what_it_waits_for(
    tracker: Tracker, runner: ScriptedRunner, code: str, message: str
) -> None:
    claim = await claimed(tracker, runner)
    demands = [
        Demand("other", {"CPU": 1.0}, 1, 9.0, "x"),
        Demand("short", {"CPU": 64.0}, 3, 5, code),
    ]
    call = runner.send(demands=demands)
    await let_run()
    [reason] = await tracker.read(WaitingFor(claim.task_id)) or []
    assert (reason["code"], reason["message"], reason["until"]) == (code, message, None)
    assert reason["details"] == {"resources": {"CPU": 64.0}, "tasks": 3}
    call.cancel()
    await runner.begin([claim], NOW)
    assert await tracker.read(WaitingFor(claim.task_id)) is None


async def test_of_what_was_just_claimed_a_process_is_being_started(
    tracker: Tracker, runner: ScriptedRunner
) -> None:
    claim = await claimed(tracker, runner)
    [reason] = await tracker.read(WaitingFor(claim.task_id)) or []
    assert reason["code"] == "runner_starting"


@pytest.mark.parametrize("pool", [SHARED_POOL, REMOTE_POOL])
async def test_what_runs_or_is_not_there_waits_for_nothing(tracker: Tracker, pool: str) -> None:
    runner = ScriptedRunner(tracker, "r2", pool=pool)
    claim = await claimed(tracker, runner)
    await runner.begin([claim], NOW)
    assert await tracker.read(WaitingFor(claim.task_id)) is None
    assert await tracker.read(WaitingFor(task_id(99))) is None
    await runner.hang_up()
