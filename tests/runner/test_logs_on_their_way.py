"""Log lines from the handler to the database: whatever is lost on the way, no line is."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from raytasks.handling.context import Context
from raytasks.handling.declaration import handler
from raytasks.handling.registry import Registry
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_events import EventQuery, LogEntry, LogLine
from raytasks.protocol.messages import AttemptLog, Claim, Exchange, FeedPart, Orders, Report
from raytasks.protocol.queries import TaskEvents
from raytasks.runner import log_book
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.identity import Identity
from raytasks.runner.warm_work import WarmWork
from raytasks.runner.workplace import Workplace
from raytasks.tracker.core import Tracker
from tests.making import new_task, outcome, task_id
from tests.runner.test_warm_work import Bench
from tests.tracking import ScriptedRunner, until


@handler("talkative")
def talkative(payload: dict, context: Context) -> None:
    for number in range(1, payload.get("lines", 2) + 1):
        context.log.info("line %d", number)


@handler("mute")
def mute(payload: dict) -> None:
    pass


class LossyBench(Bench):
    """A bench whose exchanges fail now and then: on the way there, or on the way back."""

    chance = 0.0
    exchanges: list[Exchange]

    async def _call(self, exchange: Exchange) -> Orders:
        self.exchanges.append(exchange)
        if random.random() < self.chance:
            raise ConnectionError("lost on the way there")
        orders = await super()._call(exchange)
        if random.random() < self.chance:
            raise ConnectionError("lost on the way back")
        return orders


@pytest.fixture
def bench(sqlite_url: str, tmp_path: Path) -> LossyBench:
    bench = LossyBench(sqlite_url, tmp_path, talkative, mute)
    bench.exchanges = []
    return bench


async def lines_of(tracker: Tracker, name: str) -> list[tuple[int, int, str]]:
    [page] = await tracker.read(TaskEvents([EventQuery(name)]))
    assert page is not None
    assert not page.more
    return [
        (event.attempt, event.number, event.message)
        for event in page.events
        if isinstance(event, LogEntry)
    ]


async def all_lines_arrive(bench: LossyBench, tasks: int, lines: int) -> None:
    async with bench.running():
        submitted = [bench.submit("talkative", {"lines": lines}) for _ in range(tasks)]
        names = await asyncio.gather(*submitted)
        for name in names:
            await bench.end(name)
            assert await bench.outcomes(name) == ["succeeded"]
            expected = [(1, number, f"line {number}") for number in range(1, lines + 1)]
            assert await lines_of(bench.tracker, name) == expected


async def test_the_lines_of_short_attempts_come_before_their_ends(bench: LossyBench) -> None:
    await all_lines_arrive(bench, tasks=300, lines=2)


async def test_lines_are_sent_again_when_an_exchange_fails(bench: LossyBench) -> None:
    bench.chance = 0.2
    await all_lines_arrive(bench, tasks=30, lines=20)


async def test_ends_that_wait_for_the_lines_of_others_are_not_taken_for_lost(
    bench: LossyBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_book, "MAX_CHARACTERS", 50)
    bench.chance = 0.2
    await all_lines_arrive(bench, tasks=30, lines=10)
    assert max(len(exchange.logs) for exchange in bench.exchanges) < 30


async def test_who_does_not_log_sends_no_more_than_before(bench: LossyBench) -> None:
    async with bench.running():
        for _ in range(5):
            await bench.run("mute")
        assert not any(exchange.logs for exchange in bench.exchanges)


class Wire:
    """An exchange loop, and a test that answers its calls."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[Exchange, asyncio.Future[Orders]]] = asyncio.Queue()
        self.loop = ExchangeLoop(Identity("r", "r", "shared", "g"), self, self._call)

    async def _call(self, exchange: Exchange) -> Orders:
        answer: asyncio.Future[Orders] = asyncio.get_running_loop().create_future()
        self.calls.put_nowait((exchange, answer))
        return await answer

    async def next(self) -> "tuple[Exchange, asyncio.Future[Orders]]":
        async with asyncio.timeout(10):
            return await self.calls.get()

    def capacity_by_type(self) -> dict[str, int]:
        return {"short": 9}

    def capacity(self) -> int:
        return 9

    def start(self, claims: Sequence[Claim]) -> None:
        """Nothing runs: the test says what is logged and how it ends."""

    def stop(self, task_id: str, attempt: int) -> None:
        """Nothing runs."""


@asynccontextmanager
async def wire(*numbers: int) -> AsyncIterator[Wire]:
    """A wire over which these tasks were claimed already."""
    wire = Wire()
    running = asyncio.ensure_future(wire.loop.run())
    _, answer = await wire.next()
    answer.set_result(Orders(batch=1, claims=[claim_of(number) for number in numbers]))
    await wire.next()
    try:
        yield wire
    finally:
        running.cancel()


class TestExchange:
    async def test_lines_that_may_be_lost_are_sent_again_while_the_attempt_runs(self) -> None:
        async with wire(1) as connection:
            connection.loop.log(task_id(1), 1, log(1).lines)
            exchange, answer = await connection.next()
            assert exchange.logs == (log(1),)
            answer.set_exception(ConnectionError("lost"))
            exchange, answer = await connection.next()
            assert [item.lines for item in exchange.logs] == [tuple(log(1).lines)]
            answer.set_result(Orders(batch=1, acknowledged_logs=[exchange.logs[0].number]))
            connection.loop.changed()
            exchange, _ = await connection.next()
            assert exchange.logs == ()

    async def test_an_end_that_waits_for_room_is_not_taken_for_lost(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(log_book, "MAX_CHARACTERS", 1)
        async with wire(1, 2, 3) as connection:
            for number in (1, 2):
                lines = [LogLine(1, 0.0, "INFO", "long")]
                connection.loop.log(task_id(number), 1, lines)
            connection.loop.finished([outcome(claim_of(1)), outcome(claim_of(2))])
            exchange, answer = await connection.next()
            assert [item.task_id for item in exchange.outcomes] == [task_id(1)]
            answer.set_exception(ConnectionError("lost"))
            exchange, _ = await connection.next()
            assert [item.task_id for item in exchange.outcomes] == [task_id(2)]
            while exchange.held is None:
                exchange, _ = await connection.next()
            said = {*exchange.held, *((item.task_id, 1) for item in exchange.outcomes)}
            assert said == {(task_id(number), 1) for number in (1, 2, 3)}
            exchange, _ = await connection.next()
            assert [item.task_id for item in exchange.outcomes] == [task_id(2)]

    async def test_what_an_attempt_has_logged_is_told_before_that_it_has_ended(self) -> None:
        told: list[str] = []

        class Noting:
            held = 0

            def log(self, *_: Any) -> None:
                told.append("line")

            def finished(self, outcomes: Sequence[Any]) -> None:
                told.extend("end" for _ in outcomes)

        work = WarmWork(Registry([]), Workplace(), max_tasks=99, max_memory_bytes=2**50)
        work._exchange = work.lines.exchange = Noting()  # type: ignore[assignment]
        claim = claim_of(1)
        work.lines.add(claim, log(1).lines[0])
        work._worker._outcomes.append(outcome(claim))
        work._collect()  # called for an earlier attempt, before the line's turn has come
        assert told == ["line", "end"]


def claim_of(number: int) -> Claim:
    return Claim(task_id(number), "short", 1, "{}", 0, 1, None, None)


class TestTracker:
    @pytest.fixture
    def runner(self, tracker: Tracker) -> ScriptedRunner:
        return ScriptedRunner(tracker)

    async def begun(self, tracker: Tracker, runner: ScriptedRunner) -> Claim:
        await tracker.submit([new_task(1)])
        [claim] = await runner.claim()
        return claim

    async def test_lines_are_acknowledged_when_they_are_on_disk(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await self.begun(tracker, runner)
        call = runner.send(logs=[log(1), log(2)])
        await until_logged(tracker, 2)
        assert not call.done()  # there is no hurry
        runner.send()
        assert (await call).acknowledged_logs == (1, 2)
        await runner.hang_up()

    async def test_lines_come_together_with_the_end(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await self.begun(tracker, runner)
        runner.send([outcome(claim)], logs=[log(1)])
        await until(tracker, 1, State.COMPLETED)
        assert await lines_of(tracker, task_id(1)) == [(1, 1, "x")]
        await runner.hang_up()

    async def test_also_where_each_is_done_by_itself_as_something_was_bad(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await self.begun(tracker, runner)
        bad = AttemptLog(task_id(1), 1, 2, [LogLine(2, 0.0, "INFO", "\ud800")])
        runner.send([outcome(claim)], logs=[log(1), bad])
        await until(tracker, 1, State.COMPLETED)
        assert await lines_of(tracker, task_id(1)) == [(1, 1, "x")]
        await runner.hang_up()

    async def test_those_of_an_attempt_that_is_over_are_dropped_and_done_with(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await self.begun(tracker, runner)
        runner.end(claim, OutcomeKind.RELEASED)
        await until(tracker, 1, State.RUNNING, attempt=2)
        runner.send(logs=[AttemptLog(task_id(1), 1, 7, [LogLine(1, 0.0, "INFO", "late")])])
        runner.send(logs=[AttemptLog(task_id(1), 2, 8, [LogLine(1, 0.0, "INFO", "new")])])
        await until_logged(tracker, 1)
        answered = runner.calls[-1]
        runner.send()
        await answered
        await runner.hang_up()
        done = [call.result() for call in runner.calls if not call.cancelled()]
        acknowledged = [number for orders in done for number in orders.acknowledged_logs]
        assert acknowledged == [7, 8]
        assert await lines_of(tracker, task_id(1)) == [(2, 1, "new")]

    async def test_the_feed_tells_of_lines_and_progress(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await self.begun(tracker, runner)
        epoch = tracker.ticker.epoch
        after = (await tracker.changes(epoch, 0, 0.0)).last
        runner.send(logs=[log(1)])
        feed = await tracker.changes(epoch, after, 10, FeedPart.NEWS)
        assert (feed.news, feed.changes) == ((task_id(1),), ())
        runner.send(reports=[Report(task_id(1), 1, 1, 0.5)])
        feed = await tracker.changes(epoch, feed.last, 10, FeedPart.NEWS)
        assert (feed.news, feed.changes) == ((task_id(1),), ())
        await runner.hang_up()


def log(number: int) -> AttemptLog:
    return AttemptLog(task_id(1), 1, number, (LogLine(number, 0.0, "INFO", "x"),))


async def until_logged(tracker: Tracker, lines: int) -> None:
    """Wait until so many lines of the task are there."""
    after = 0
    while len(await lines_of(tracker, task_id(1))) < lines:
        feed = await tracker.changes(tracker.ticker.epoch, after, 10, FeedPart.NEWS)
        after = feed.last
