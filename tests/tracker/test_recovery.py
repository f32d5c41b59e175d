"""Refusals by the database: nothing is thrown away for them, and they stop nobody else."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import DataError, IntegrityError, InternalError, ProgrammingError

from raytasks.model.states import State
from raytasks.model.task_events import EventQuery, LogEntry, LogLine
from raytasks.model.tasks import RaytasksError, StoreUnavailable
from raytasks.protocol.commands import CancelTask
from raytasks.protocol.messages import AttemptLog, Claim, Outcome, Report
from raytasks.protocol.queries import Health, TaskEvents, TasksById
from raytasks.store.settlement import Settlement
from raytasks.store.transaction import FenceBroken, Transaction
from raytasks.tracker import access, aside, backlog, intake
from raytasks.tracker.core import Tracker
from raytasks.tracker.inbox import Inbox
from raytasks.tracker.recovery import DUE_TASKS, EXPIRED_TASKS
from tests.making import new_task, outcome, task_id
from tests.tracking import PATIENCE, FaultyStore, ScriptedRunner, let_run, tracker_on, until

LONE = "\ud800"
"""Half a letter: text that no database can store."""


class Server(Exception):
    """An error of a database driver; `sqlstate` says why."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(f"refused: {sqlstate}")
        self.sqlstate = sqlstate


REFUSALS: dict[str, Callable[[], Exception]] = {
    "privilege": lambda: ProgrammingError("", None, Server("42501")),
    "missing table": lambda: ProgrammingError("", None, Server("42P01")),
    "prepared statement": lambda: ProgrammingError("", None, Server("26000")),
    "internal error": lambda: InternalError("", None, Server("XX000")),
    "broken constraint": lambda: IntegrityError("", None, Server("23514")),
    "broken fence": lambda: FenceBroken("0 of 1 rows were as expected"),
    "failed assertion": lambda: AssertionError("memory and database differ"),
}


class Refusing(FaultyStore):
    """Refuses the next transactions, or those that settle some tasks."""

    refusals: Iterator[Exception] = iter(())
    poison: frozenset[str] = frozenset()
    lines_refused = 0
    """How many transactions with lines of attempts fail yet."""
    poison_error: Callable[[], Exception] = REFUSALS["internal error"]

    @contextmanager
    def transaction(self, *, now: float) -> Iterator[Transaction]:
        error = next(self.refusals, None)
        if error is not None:
            self.transactions += 1
            raise error
        with super().transaction(now=now) as transaction:
            settle, log = transaction.settle, transaction.log

            def log_some(logs: Sequence[AttemptLog]) -> None:
                if logs and self.lines_refused:
                    self.lines_refused -= 1
                    raise StoreUnavailable("the connection was lost")
                log(logs)

            transaction.log = log_some  # type: ignore[method-assign]

            def settle_some(settlements: Sequence[Settlement]) -> None:
                if any(item.attempt.task_id in self.poison for item in settlements):
                    raise self.poison_error()
                settle(settlements)

            transaction.settle = settle_some  # type: ignore[method-assign]
            yield transaction


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_OUTAGE_DELAYS", (0.001,))
    monkeypatch.setattr(aside, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(aside, "_MAX_PAUSE", 0.02)


@pytest.fixture
def store(sqlite_url: str) -> Refusing:
    return Refusing(sqlite_url)


@pytest.fixture
async def tracker(store: Refusing) -> AsyncIterator[Tracker]:
    async with tracker_on(store) as tracker:
        tracker.fleet.averages.add("short", 0.0001)
        yield tracker


@pytest.fixture
async def runner(tracker: Tracker) -> AsyncIterator[ScriptedRunner]:
    runner = ScriptedRunner(tracker)
    yield runner
    await runner.hang_up()


async def claimed(tracker: Tracker, runner: ScriptedRunner, number: int) -> list[Claim]:
    """Submit tasks from 1 on, and claim all of them."""
    await tracker.submit([new_task(i) for i in range(1, number + 1)])
    claims: list[Claim] = []
    while len(claims) < number:
        claims += await runner.claim()
    return claims


def done(claim: Claim, **changes: Any) -> Outcome:
    return outcome(claim, at=time.time(), result='"the work of three days"', **changes)


async def completed(tracker: Tracker, count: int) -> None:
    """Wait until so many tasks are COMPLETED."""
    async with asyncio.timeout(PATIENCE):
        while tracker.ticker.ledger.counts["short", State.COMPLETED] != count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def named(tracker: Tracker, count: int) -> list[str]:
    """Wait until so many commands are set aside, and return what they are called."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = (await tracker.read(Health()))["tracker"]["set_aside"]
            if found["count"] == count:
                return [item["what"] for item in found["list"]]
            await asyncio.sleep(0.005)


class TestOutcomes:
    @pytest.mark.parametrize("kind", REFUSALS)
    @pytest.mark.parametrize("times", [1, 2, 3, 4, 7, 10])
    async def test_a_success_stays_one_however_often_it_is_refused(
        self, tracker: Tracker, runner: ScriptedRunner, store: Refusing, kind: str, times: int
    ) -> None:
        [claim] = await claimed(tracker, runner, 1)
        store.refusals = iter([REFUSALS[kind]() for _ in range(times)])
        runner.send([done(claim)])
        task = await until(tracker, 1, State.COMPLETED)
        assert task.result == '"the work of three days"'
        runner.known = False
        async with asyncio.timeout(PATIENCE):
            while (claim.task_id, 1) not in runner.acknowledged:
                await runner.acknowledgements()
                await asyncio.sleep(0)
        await named(tracker, 0)

    @pytest.mark.parametrize("kind", ["internal error", "broken constraint", "broken fence"])
    async def test_one_that_is_refused_alone_stops_nobody_else(
        self, tracker: Tracker, runner: ScriptedRunner, store: Refusing, kind: str
    ) -> None:
        claims = await claimed(tracker, runner, 200)
        store.poison, store.poison_error = frozenset({task_id(77)}), REFUSALS[kind]
        before = store.transactions
        runner.send([done(claim) for claim in claims])
        assert await named(tracker, 1) == [f"outcome of task {task_id(77)}, attempt 1"]
        await completed(tracker, 199)
        assert store.transactions - before < 100
        await tracker.submit([new_task(1000)])
        assert (await tracker.read(TasksById([task_id(77)])))[task_id(77)].state is State.RUNNING
        assert (task_id(77), 1) not in await runner.acknowledgements()
        store.poison = frozenset()
        assert (await until(tracker, 77, State.COMPLETED)).result == '"the work of three days"'
        await named(tracker, 0)

    @pytest.mark.parametrize("kind", REFUSALS)
    async def test_one_that_is_tried_again_in_vain_stops_nobody_else(
        self, tracker: Tracker, runner: ScriptedRunner, store: Refusing, kind: str
    ) -> None:
        claims = await claimed(tracker, runner, 20)
        store.poison, store.poison_error = frozenset({task_id(1)}), REFUSALS[kind]
        runner.send([done(claim) for claim in claims])
        await named(tracker, 1)
        await completed(tracker, 19)
        number = 1000
        while (await tracker.read(Health()))["tracker"]["set_aside"]["list"][0]["tries"] < 3:
            number += 1
            await tracker.submit([new_task(number, task_type="other")])
        assert (await tracker.read(Health()))["database"]["ok"]

    async def test_one_that_is_set_aside_is_not_given_back_or_lost(
        self, tracker: Tracker, runner: ScriptedRunner, store: Refusing
    ) -> None:
        [claim] = await claimed(tracker, runner, 1)
        store.poison, store.poison_error = frozenset({task_id(1)}), REFUSALS["broken constraint"]
        runner.send([done(claim)])
        await named(tracker, 1)
        assert tracker.release_runner(runner.runner_id) == 0
        tracker.mark_lost(runner.runner_id, "it was ended")
        await tracker.submit([new_task(2, task_type="other")])
        store.poison = frozenset()
        assert (await until(tracker, 1, State.COMPLETED)).attempt == 1

    async def test_many_that_are_refused_are_all_kept(
        self, tracker: Tracker, runner: ScriptedRunner, store: Refusing
    ) -> None:
        claims = await claimed(tracker, runner, 40)
        store.poison = frozenset(task_id(i) for i in range(1, 31))
        store.poison_error = REFUSALS["broken constraint"]
        runner.send([done(claim) for claim in claims])
        await named(tracker, 30)
        await completed(tracker, 10)
        store.poison = frozenset()
        await completed(tracker, 40)
        await named(tracker, 0)


class TestOthers:
    async def test_a_submission_is_answered_with_an_error_and_named(self, tracker: Tracker) -> None:
        with pytest.raises(RaytasksError, match="cannot be stored: OverflowError"):
            await tracker.submit([new_task(1, priority=2**63)])
        await tracker.submit([new_task(2)])
        [name] = await named(tracker, 1)
        assert name == f"submission of task {task_id(1)} (short)"

    async def test_log_lines_and_reports(self, tracker: Tracker, runner: ScriptedRunner) -> None:
        first, second = await claimed(tracker, runner, 2)
        lines = (LogLine(1, time.time(), "INFO", LONE),)
        runner.send(
            reports=[Report(first.task_id, 1, 1, checkpoint=LONE)],
            logs=[AttemptLog(second.task_id, 1, 1, lines)],
        )
        assert set(await named(tracker, 2)) == {
            f"report of task {task_id(1)}, attempt 1",
            f"log lines of task {task_id(2)}, attempt 1",
        }
        runner.send([done(first), done(second)])
        await until(tracker, 1, State.COMPLETED)
        await until(tracker, 2, State.COMPLETED)
        await named(tracker, 0)  # with the attempts they are over

    @pytest.mark.parametrize(("refused", "kept"), [(4, True), (1000, False)])
    async def test_an_outcome_waits_for_its_lines_while_the_database_is_away(
        self,
        store: Refusing,
        tracker: Tracker,
        runner: ScriptedRunner,
        refused: int,
        kept: bool,
    ) -> None:
        await tracker.submit([new_task(1)])
        [claim] = await runner.claim()
        store.lines_refused = refused
        lines = (LogLine(1, time.time(), "INFO", "so far"),)
        runner.send([done(claim)], logs=[AttemptLog(claim.task_id, 1, 1, lines)])
        await completed(tracker, 1)
        [page] = await tracker.read(TaskEvents([EventQuery(claim.task_id)]))
        assert page is not None
        assert any(isinstance(item, LogEntry) for item in page.events) is kept

    async def test_two_cancels_of_one_task_in_one_tick(self, tracker: Tracker) -> None:
        await tracker.submit([new_task(1)])
        both = await asyncio.gather(
            tracker.execute(CancelTask(task_id(1))),
            tracker.execute(CancelTask(task_id(1), "default")),
        )
        assert {task.state for task in both} == {State.CANCELLED}

    async def test_statistics(
        self, tracker: Tracker, runner: ScriptedRunner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> None:
            raise DataError("", None, Server("22003"))

        monkeypatch.setattr("raytasks.tracker.tick.write_stats", refuse)
        [claim] = await claimed(tracker, runner, 1)
        tracker.ticker.ledger.stats._write_at = 0.0
        runner.send([done(claim)])
        await until(tracker, 1, State.COMPLETED)
        assert await named(tracker, 1) == ["statistics"]
        await tracker.submit([new_task(2)])

    async def test_claims_of_one_type(
        self, tracker: Tracker, store: Refusing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim = Transaction.claim

        def refuse(self: Transaction, chosen: Sequence[Any], **more: Any) -> None:
            if any(row.task_type == "broken" for row, _ in chosen):
                raise FenceBroken("0 of 1 rows were as expected")
            claim(self, chosen, **more)

        monkeypatch.setattr(Transaction, "claim", refuse)
        runner = ScriptedRunner(tracker, "r2", short=5, broken=5)
        for name in ("short", "broken"):  # so that a runner takes both
            tracker.fleet.averages.add(name, 0.001)
        waiting = asyncio.ensure_future(runner.claim())
        await let_run()
        await tracker.submit([new_task(1, task_type="broken"), new_task(2)])
        assert await named(tracker, 1) == ["claims of broken"]
        assert [item.task_id for item in await waiting] == [task_id(2)]
        await runner.hang_up()


class TestWritesThatFail:
    """The database answers reads, and refuses to write."""

    @pytest.fixture(autouse=True)
    def _slowly(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(access, "_OUTAGE_DELAYS", (0.01, 0.02, 0.1))

    async def test_nothing_is_said_again_and_the_pause_grows(
        self, tracker: Tracker, runner: ScriptedRunner, store: Refusing
    ) -> None:
        claims = await claimed(tracker, runner, 20)
        before, resyncs = store.transactions, 0
        full = StoreUnavailable("database or disk is full")
        store.refusals = iter([full] * 10)
        outcomes = [done(claim) for claim in claims]
        orders = await runner.exchange(outcomes)
        while not orders.acknowledged:
            if orders.resync:
                resyncs += 1
                assert store.transactions - before > 10  # not before a write has succeeded
            assert len(tracker.ticker.inbox.outcomes) <= 20
            orders = await runner.exchange(outcomes if orders.resync else ())
        assert resyncs == 1
        assert len(orders.acknowledged) == 20

    async def test_what_is_tried_again_in_parts_is_not_taken_in_beside_them(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        [claim] = await claimed(tracker, runner, 1)
        [state] = tracker.fleet
        running, said = state.find(claim.task_id, claim.attempt), done(claim)
        assert running is not None
        inbox, group = tracker.ticker.inbox, Inbox()
        group.outcomes.append((running, said))
        inbox.suspects.append(group)
        exchange: Any = SimpleNamespace(outcomes=[said])
        assert tracker.ticker.intake._take_outcomes(state, exchange, complete=True)
        assert (len(inbox.outcomes), len(group.outcomes)) == (0, 1)

    async def test_health_says_so_until_a_write_succeeds(
        self, tracker: Tracker, runner: ScriptedRunner, store: Refusing
    ) -> None:
        [claim] = await claimed(tracker, runner, 1)
        store.poison = frozenset({claim.task_id})  # the epoch can be renewed all the same
        store.poison_error = lambda: StoreUnavailable("database or disk is full")
        runner.send([done(claim)])
        async with asyncio.timeout(PATIENCE):
            while (await tracker.read(Health()))["database"]["ok"]:
                await let_run()
        for _ in range(50):
            assert (await tracker.read(Health()))["database"] == {
                "ok": False,
                "error": "database or disk is full",
            }
            await asyncio.sleep(0.01)
        store.poison = frozenset()
        await until(tracker, 1, State.COMPLETED)
        assert (await tracker.read(Health()))["database"] == {"ok": True, "error": None}

    async def test_health_says_no_more_so_when_nothing_waits_for_what_was_left_out(
        self, tracker: Tracker
    ) -> None:
        kept = tracker.ticker.recovery.aside
        kept.bar(DUE_TASKS, StoreUnavailable("the connection was lost"))
        kept.bar(EXPIRED_TASKS, DataError("", None, Server("22003")))
        assert not (await tracker.read(Health()))["database"]["ok"]
        tracker.ticker.wake.set()  # no task becomes due
        assert await named(tracker, 1) == [EXPIRED_TASKS]
        assert (await tracker.read(Health()))["database"] == {"ok": True, "error": None}

    async def test_no_more_is_taken_than_there_is_room_for_and_all_of_it_in_the_end(
        self, tracker: Tracker, store: Refusing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(intake, "MAX_BYTES", 10_000)
        runners = [ScriptedRunner(tracker, f"r{i}") for i in range(4)]
        held: list[list[Outcome]] = []
        for i, runner in enumerate(runners):
            waiting = asyncio.ensure_future(runner.claim())
            await let_run()
            await tracker.submit([new_task(100 * i + j) for j in range(20)])
            claims = await waiting
            while len(claims) < 20:
                claims += await runner.claim()
            held.append([outcome(claim, result='"' + 700 * "x" + '"') for claim in claims])
        store.away = True
        said = 0

        async def talk(runner: ScriptedRunner, outcomes: list[Outcome]) -> None:
            nonlocal said
            while len(set(runner.acknowledged)) < len(outcomes):
                again = [] if runner.known and said else outcomes
                again = [item for item in again if item.task_id not in dict(runner.acknowledged)]
                said += len(again)
                await runner.exchange(again)

        for runner in runners:
            runner.known = False
        talking = [
            asyncio.ensure_future(talk(runner, outcomes))
            for runner, outcomes in zip(runners, held, strict=True)
        ]
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert tracker.ticker.inbox.bytes <= 10_000
        assert said == 80
        store.away = False
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*talking)
        assert tracker.ticker.ledger.counts["short", State.COMPLETED] == 80
        assert said < 600

    async def test_those_who_have_waited_are_told_at_once(
        self, tracker: Tracker, runner: ScriptedRunner, store: Refusing
    ) -> None:
        claims = await claimed(tracker, runner, 2)
        store.refusals = iter([ProgrammingError("", None, Server("42501"))])
        orders = await runner.exchange([done(claim) for claim in claims])
        while not orders.acknowledged:  # its lease is so long that a heartbeat would be too late
            orders = await runner.exchange()
        assert len(orders.acknowledged) == 2

    async def test_news_that_are_said_again_are_no_late_news(
        self, tracker: Tracker, runner: ScriptedRunner, store: Refusing
    ) -> None:
        [claim] = await claimed(tracker, runner, 1)
        runner.send([done(claim)])
        await until(tracker, 1, State.COMPLETED)
        before = store.transactions
        runner.known = False
        await runner.exchange([done(claim)])
        assert not tracker.ticker.inbox.late
        assert store.transactions == before


async def test_a_write_that_hangs_is_answered_in_time(
    store: Refusing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "SLOW_SECONDS", 0.0)
    async with tracker_on(store) as tracker:
        await tracker.submit([new_task(1)])
        loop, hangs, over = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        real_time, skipped = loop.time, 0.0
        monkeypatch.setattr(loop, "time", lambda: real_time() + skipped)

        def hang() -> None:
            store.before_commit = None
            loop.call_soon_threadsafe(hangs.set)
            asyncio.run_coroutine_threadsafe(over.wait(), loop).result(PATIENCE)

        store.before_commit = hang
        first = asyncio.ensure_future(tracker.submit([new_task(2)]))
        await asyncio.wait_for(hangs.wait(), PATIENCE)
        later = (tracker.submit([new_task(3)]), tracker.execute(CancelTask(task_id(1))))
        waiting = [first, *map(asyncio.ensure_future, later)]
        await let_run()
        assert not any(call.done() for call in waiting)
        skipped = backlog.ANSWER_SECONDS  # the loop's clock jumps to where all have waited too long
        for call in waiting:
            with pytest.raises(StoreUnavailable, match="away"):
                await call
        report = await tracker.read(Health())
        assert not report["database"]["ok"]
        assert "does not answer" in report["database"]["error"]
        over.set()
        await tracker.submit([new_task(4)])
        # The second was on its way, the third was dropped when its caller had been refused.
        assert set(await tracker.read(TasksById([task_id(i) for i in range(5)]))) == {
            task_id(1),
            task_id(2),
            task_id(4),
        }


@pytest.mark.parametrize("in_doubt", [True, False])
async def test_a_pause_whose_commit_is_in_doubt_is_read_again(
    store: Refusing, in_doubt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tracker_on(store) as tracker:
        steer = store.steer

        def lose_the_answer(*change: Any) -> None:
            if in_doubt:
                steer(*change)
            error = StoreUnavailable("the connection was lost")
            error.in_doubt = in_doubt
            raise error

        monkeypatch.setattr(store, "steer", lose_the_answer)
        with pytest.raises(StoreUnavailable):
            await tracker.pause()
        await tracker.submit([new_task(1)])
        assert bool(tracker.ticker.steering.pauses) == in_doubt
