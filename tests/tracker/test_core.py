"""The tracker, without Ray: submit, claim, settle, cancel, retry, wait."""

import asyncio
import gc
import itertools
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import BacklogFull, NewTask, Running, StateConflict, Task, TaskNotFound
from raytasks.protocol.commands import CancelTask, RetryTask
from raytasks.protocol.messages import Claim, Report
from raytasks.protocol.queries import TaskDetail, TasksById
from raytasks.store.store import Store
from raytasks.testing import FakeClock
from raytasks.tracker import ticker
from raytasks.tracker.averages import HOLD_SECONDS
from raytasks.tracker.core import Tracker
from raytasks.tracker.fleet import MAX_HELD
from raytasks.tracker.settling import MIN_SNOOZE_SECONDS
from raytasks.tracker.stats_upkeep import StatsUpkeep
from tests.making import NOW, ids, new_task, outcome, task_id
from tests.tracking import (
    PATIENCE,
    FaultyStore,
    ScriptedRunner,
    let_run,
    tracker_on,
    until,
    wait_final,
)

OpenStore = Callable[..., Store]
SOON = 3.0  # before a tick comes anyhow, since statistics are written
NUMBERS = itertools.count(1_000)
"""Of the tasks that only teach the tracker how long a type takes."""


@pytest.fixture(autouse=True)
def no_upkeep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the statistics' own transactions away, where tests count and hold up those of ticks."""

    async def nothing(_: StatsUpkeep) -> None: ...

    monkeypatch.setattr(StatsUpkeep, "tidy", nothing)


@pytest.fixture
async def tracker(store: FaultyStore, clock: FakeClock) -> AsyncIterator[Tracker]:
    """A running tracker whose clock stands still at `NOW`, and whose lease never ends."""
    async with tracker_on(store, clock=clock, max_crashes=1) as tracker:
        yield tracker


@pytest.fixture
def runner(tracker: Tracker) -> ScriptedRunner:
    return ScriptedRunner(tracker)


async def open_tasks(tracker: Tracker) -> int:
    return sum(work.open for work in (await tracker.demand(["short"])).values())


async def submit(tracker: Tracker, *numbers: int, **changes: Any) -> None:
    await tracker.submit([new_task(number, **changes) for number in numbers])


async def claimed(tracker: Tracker, runner: ScriptedRunner, **changes: Any) -> Claim:
    """Submit task 1 and claim it."""
    await submit(tracker, 1, **changes)
    [claim] = await runner.claim()
    return claim


async def teach(
    tracker: Tracker, runner: ScriptedRunner, task_type: str, *durations: float
) -> None:
    """Let the tracker see attempts of this type that took so long."""
    for seconds in durations:
        number = next(NUMBERS)
        await submit(tracker, number, task_type=task_type)
        [claim] = await runner.claim()
        runner.end(claim, at=NOW, finished_at=NOW + seconds)
        await until(tracker, number, State.COMPLETED)
        await runner.hang_up()


async def loaded(tracker: Tracker, runner: ScriptedRunner) -> Sequence[Claim]:
    """Have a tick that is under load, and return what the runner got of it."""
    await teach(tracker, runner, "short", 0.001, 0.001)
    call = runner.send()
    await let_run()
    await submit(tracker, *range(ticker.LOAD))
    return (await call).claims


class Gate:
    """Holds a tick up just before its commit."""

    def __init__(self, store: FaultyStore) -> None:
        self._reached, self._open = threading.Event(), threading.Event()
        store.before_commit = self._stand

    def _stand(self) -> None:
        self._reached.set()
        assert self._open.wait(PATIENCE)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, PATIENCE)

    def open(self) -> None:
        self._open.set()


class TestSubmission:
    async def test_what_was_accepted_is_on_disk(
        self, tracker: Tracker, sqlite_url: str, open_store: OpenStore
    ) -> None:
        await submit(tracker, 1, 2)
        assert set(open_store(sqlite_url).read(TasksById(ids([1, 2])))) == set(ids([1, 2]))

    async def test_nothing_is_acknowledged_or_started_before_its_commit(
        self, tracker: Tracker, store: FaultyStore, runner: ScriptedRunner
    ) -> None:
        call = runner.send()
        await let_run()
        gate = Gate(store)
        accepted = asyncio.ensure_future(submit(tracker, 1))
        await gate.reached()
        await let_run()
        assert not accepted.done()
        assert not call.done()
        assert await tracker.read(TasksById([task_id(1)])) == {}
        assert (await tracker.changes(tracker.ticker.epoch, 0, 0.0)).changes == ()
        gate.open()
        await accepted
        assert [claim.task_id for claim in (await call).claims] == [task_id(1)]

    async def test_who_asks_during_a_tick_gets_what_comes_of_it(
        self, tracker: Tracker, store: FaultyStore, runner: ScriptedRunner
    ) -> None:
        await teach(tracker, runner, "short", 0.001, 0.001)  # it is known, and holds nothing
        await runner.hang_up()
        gate = Gate(store)
        accepted = asyncio.ensure_future(submit(tracker, 1))
        await gate.reached()
        asked = runner.send()  # nothing that it could take waits yet
        await let_run()
        gate.open()
        await accepted
        async with asyncio.timeout(SOON):
            assert [claim.task_id for claim in (await asked).claims] == [task_id(1)]

    async def test_what_never_went_out_is_given_back_when_its_runner_dies(
        self, tracker: Tracker, store: FaultyStore, runner: ScriptedRunner
    ) -> None:
        await tracker.submit([new_task(99, task_type="other")])  # the tracker's own ticks are over
        runner.send()
        await let_run()
        gate = Gate(store)
        accepted = asyncio.ensure_future(submit(tracker, 1))
        await gate.reached()  # it is being claimed
        await runner.hang_up()
        gate.open()
        await accepted
        await until(tracker, 1, State.RUNNING)
        tracker.mark_lost("r1", "died")
        await until(tracker, 1, State.PENDING, attempt=1)
        _, [attempt] = (await tracker.read(TaskDetail(task_id(1)))) or (None, [])
        assert attempt.outcome == OutcomeKind.RELEASED

    async def test_what_gathers_during_a_tick_goes_into_the_next_one_together(
        self, tracker: Tracker, store: FaultyStore
    ) -> None:
        await submit(tracker, 99)  # now the first ticks of the tracker itself are over
        before = store.transactions
        gate = Gate(store)
        first = asyncio.ensure_future(submit(tracker, 0))
        await gate.reached()
        others = [asyncio.ensure_future(submit(tracker, number)) for number in range(1, 50)]
        await let_run()
        gate.open()
        await asyncio.gather(first, *others)
        assert store.transactions == before + 2

    async def test_a_client_that_hangs_up_breaks_nothing(
        self, tracker: Tracker, store: FaultyStore, runner: ScriptedRunner
    ) -> None:
        gate = Gate(store)
        clients = [asyncio.ensure_future(submit(tracker, number)) for number in range(3)]
        await gate.reached()
        waiting = [asyncio.ensure_future(submit(tracker, number)) for number in range(3, 6)]
        await let_run()
        clients[1].cancel()
        waiting[1].cancel()
        await let_run()
        gate.open()
        await asyncio.gather(clients[0], clients[2], waiting[0], waiting[2])
        # Those of the clients that left are accepted too, whole.
        assert set(await tracker.read(TasksById(ids(range(6))))) == set(ids(range(6)))
        assert tracker.backlog == 6
        [claim] = await runner.claim()
        runner.end(claim)
        await until(tracker, 0, State.COMPLETED)

    async def test_the_same_submission_again_is_harmless(self, tracker: Tracker) -> None:
        await submit(tracker, 1, 2)
        await submit(tracker, 1, 2)
        await asyncio.gather(submit(tracker, 3), submit(tracker, 3))
        assert (tracker.backlog, len(await tracker.read(TasksById(ids([1, 2, 3]))))) == (3, 3)

    async def test_a_submission_again_does_not_touch_the_task(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await claimed(tracker, runner)
        await submit(tracker, 1)
        assert (await tracker.read(TasksById([task_id(1)])))[task_id(1)].state is State.RUNNING

    async def test_a_full_backlog_refuses_the_whole_submission(
        self, store: FaultyStore, clock: FakeClock
    ) -> None:
        async with tracker_on(store, clock=clock, max_backlog=3) as tracker:
            await submit(tracker, 1, run_at=NOW + 60)
            await submit(tracker, 2)
            with pytest.raises(BacklogFull, match="has room for 1 more, and 2 were"):
                await submit(tracker, 3, 4)
            assert await tracker.read(TasksById(ids([3, 4]))) == {}
            await submit(tracker, 3)
            with pytest.raises(BacklogFull):
                await submit(tracker, 4)
            await ScriptedRunner(tracker).claim()
            await submit(tracker, 4)

    async def test_a_backlog_is_not_held_in_memory(
        self, store: FaultyStore, clock: FakeClock
    ) -> None:
        every = 100_000
        with store._database.writing() as connection:
            connection.execute(
                text(
                    "INSERT INTO tasks (task_id, task_type, state, payload, priority, rank, ready,"
                    " attempt, max_attempts, failures, crashes, cancel_requested, created_at,"
                    " run_at, updated_at) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1"
                    " FROM n WHERE i < :every) SELECT printf('0198c1de-0000-7000-8000-%012x', i),"
                    " 'short', 'PENDING', '{}', 0, i, 1, 0, 3, 0, 0, 0, i, i, i FROM n"
                ),
                {"every": every},
            )
            connection.execute(
                text("INSERT INTO task_counts VALUES ('default', 'short', 'PENDING', :every)"),
                {"every": every},
            )
        async with tracker_on(store, clock=clock) as tracker:
            runner = ScriptedRunner(tracker, pool=REMOTE_POOL, capacity=100, short=100)
            assert [claim.task_id for claim in await runner.claim()] == ids(range(1, 101))
            await submit(tracker, *range(200_000, 205_000))
            assert tracker.backlog == every + 5_000 - 100
            gc.collect()
            kinds = (NewTask, Task, Claim, Running)
            assert sum(isinstance(item, kinds) for item in gc.get_objects()) < 1_000


class TestClaims:
    async def test_the_way_of_a_task(self, tracker: Tracker, runner: ScriptedRunner) -> None:
        call = runner.send()
        await submit(tracker, 1, payload="[1]", timeout_seconds=5.0, max_attempts=7)
        [claim] = (await call).claims
        assert claim == Claim(
            task_id(1), "short", 1, "[1]", failures=0, max_attempts=7, timeout_seconds=5.0,
            checkpoint=None,
        )  # fmt: skip
        runner.end(claim, result="[2]", node_id="n1")
        task = await until(tracker, 1, State.COMPLETED)
        assert (task.result, task.attempt) == ("[2]", 1)
        found = await tracker.read(TaskDetail(task_id(1)))
        assert found is not None
        assert [(item.attempt, item.outcome, item.node_id) for item in found[1]] == [
            (1, OutcomeKind.SUCCEEDED, "n1")
        ]
        feed = await tracker.changes(tracker.ticker.epoch, 0, 0.0)
        assert [(change.state, change.attempt) for change in feed.changes] == [
            (State.PENDING, 0),
            (State.RUNNING, 1),
            (State.COMPLETED, 1),
        ]
        assert await runner.acknowledgements() == [(task_id(1), 1)]
        assert tracker.fleet.running == {}

    async def test_a_runner_gets_only_what_it_asked_for(self, tracker: Tracker) -> None:
        await submit(tracker, 1, 2, 3)
        await submit(tracker, 4, 5, task_type="long")
        runner = ScriptedRunner(tracker, pool=REMOTE_POOL, capacity=3, short=2, other=9)
        assert [claim.task_id for claim in await runner.claim()] == ids([1, 2])
        roomy = ScriptedRunner(tracker, "r2", pool=REMOTE_POOL, capacity=2, short=9, long=9)
        assert len(await roomy.claim()) == 2

    async def test_priorities_go_first(self, tracker: Tracker, runner: ScriptedRunner) -> None:
        for number, priority in ((1, 0), (2, 2), (3, -2), (4, 1)):
            await submit(tracker, number, priority=priority)
        order: list[str] = []
        claims = await runner.claim()
        while len(order) < 3:
            order.append(claims[0].task_id)
            claims = await runner.claim([outcome(claims[0], at=NOW, finished_at=NOW + 60)])
        assert [*order, claims[0].task_id] == ids([2, 4, 1, 3])

    async def test_a_type_that_never_ran_goes_alone(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await submit(tracker, *range(20))
        assert len(await runner.claim()) == 1

    async def test_short_attempts_go_together_as_many_as_fill_the_time(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await teach(tracker, runner, "short", 0.01)
        await submit(tracker, *range(100))
        expected = round(HOLD_SECONDS / 0.01)
        claims = await runner.claim()
        assert expected - 1 <= len(claims) <= expected
        # While it holds that much it gets nothing more, and as some end it gets as many again.
        call = runner.send()
        await submit(tracker, 200)
        assert not call.done()
        ends = [outcome(item, at=NOW, finished_at=NOW + 0.01) for item in claims[:4]]
        assert 3 <= len(await runner.claim(ends)) <= 5

    async def test_a_batch_has_a_limit_however_short_the_attempts_are(
        self, tracker: Tracker
    ) -> None:
        runner = ScriptedRunner(tracker, capacity=10_000, short=10_000)
        await teach(tracker, runner, "short", 0.000001)
        await submit(tracker, *range(MAX_HELD + 50))
        assert len(await runner.claim()) == MAX_HELD

    async def test_long_attempts_go_alone(self, tracker: Tracker, runner: ScriptedRunner) -> None:
        await teach(tracker, runner, "short", 0.001, 0.3)
        await submit(tracker, *range(100))
        assert len(await runner.claim()) == 1

    async def test_short_ones_do_not_wait_behind_a_long_one(self, tracker: Tracker) -> None:
        runner = ScriptedRunner(tracker, short=256, long=256)
        await teach(tracker, runner, "short", 0.001)
        await teach(tracker, runner, "long", 5.0)
        await submit(tracker, 1, task_type="long")
        assert [claim.task_id for claim in await runner.claim()] == [task_id(1)]
        await submit(tracker, 2, 3)
        other = ScriptedRunner(tracker, "r2", short=256, long=256)
        assert [claim.task_id for claim in await other.claim()] == ids([2, 3])

    async def test_a_long_one_is_not_kept_waiting_by_a_stream_of_short_ones(
        self, tracker: Tracker
    ) -> None:
        runner = ScriptedRunner(tracker, short=256, long=256)
        await teach(tracker, runner, "short", 0.03)
        tracker.fleet.averages.add("long", 5.0)  # of an attempt that is not charged any more
        await submit(tracker, *range(40))
        held = len(await runner.claim())
        await submit(tracker, 50, task_type="long", priority=9)
        rounds = 0
        while task_id(50) not in runner.held:
            rounds += 1
            assert rounds <= held
            name, attempt = next(iter(runner.held.items()))
            ends = Claim(name, "short", attempt, "", 0, 3, None, None)
            runner.end(ends, at=NOW, finished_at=NOW + 0.03)
            await until(tracker, int(name[-12:], 16), State.COMPLETED)
            await let_run()

    async def test_the_task_runner_takes_all_that_it_has_room_for(self, tracker: Tracker) -> None:
        await submit(tracker, *range(30))
        runner = ScriptedRunner(tracker, pool=REMOTE_POOL, capacity=20)
        assert len(await runner.claim()) == 20

    async def test_runners_share_what_there_is_in_turn(self, tracker: Tracker) -> None:
        runners = [ScriptedRunner(tracker, f"r{i}", pool=REMOTE_POOL) for i in range(3)]
        calls = [runner.send() for runner in runners]
        await let_run()
        await submit(tracker, *range(9))
        shares = [[claim.task_id for claim in (await call).claims] for call in calls]
        assert [len(share) for share in shares] == [3, 3, 3]
        assert sorted(itertools.chain(*shares)) == ids(range(9))

    @pytest.mark.parametrize(
        ("seconds", "sizes"), [(0.0001, [10, 0]), (0.01, [5, 5])], ids=["short", "long"]
    )
    async def test_few_short_ones_go_to_one_runner_and_longer_ones_to_all(
        self, tracker: Tracker, seconds: float, sizes: list[int]
    ) -> None:
        runners = [ScriptedRunner(tracker, name) for name in ("r1", "r2")]
        await teach(tracker, runners[0], "short", seconds)
        for runner in runners:
            runner.send()
        await let_run()
        await submit(tracker, *range(10))
        await let_run()
        assert sorted((len(runner.held) for runner in runners), reverse=True) == sizes

    async def test_who_holds_least_has_the_first_turn(self, tracker: Tracker) -> None:
        busy, idle = ScriptedRunner(tracker, "busy"), ScriptedRunner(tracker, "idle")
        await teach(tracker, busy, "short", 0.004)
        await submit(tracker, 1)
        await busy.claim()
        for runner in (busy, idle):
            runner.send()
        await let_run()
        await submit(tracker, 2)
        await let_run()
        assert task_id(2) in idle.held

    async def test_the_answer_says_whether_more_is_queued(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await submit(tracker, 1, 2)  # of a type that never ran: they go one by one
        first = await runner.exchange()
        assert (len(first.claims), first.queued) == (1, True)
        last = await runner.exchange([outcome(first.claims[0], at=NOW, finished_at=NOW)])
        while not last.claims:
            last = await runner.exchange()
        assert (len(last.claims), last.queued) == (1, False)

    async def test_under_load_outcomes_share_the_tick_of_what_is_submitted_next(
        self, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ticker, "SETTLE_SECONDS", PATIENCE + 5)
        async with asyncio.timeout(SOON), tracker_on(store, lease_seconds=1000) as tracker:
            runner = ScriptedRunner(tracker)
            claims = await loaded(tracker, runner)
            before = store.transactions
            call = runner.send([outcome(claim, at=NOW, finished_at=NOW) for claim in claims])
            await let_run()
            assert store.transactions == before
            await submit(tracker, 10)
            assert store.transactions == before + 1
            orders = await call
            assert len(orders.acknowledged) == len(claims)
            assert [claim.task_id for claim in orders.claims] == [task_id(10)]

    async def test_under_load_outcomes_alone_are_taken_in_soon(
        self, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ticker, "SETTLE_SECONDS", 0.05)
        async with asyncio.timeout(SOON), tracker_on(store, lease_seconds=1000) as tracker:
            runner = ScriptedRunner(tracker)
            claims = await loaded(tracker, runner)
            runner.send([outcome(claim, at=NOW, finished_at=NOW) for claim in claims])
            await tracker.wait_until_idle(PATIENCE)
            assert not tracker.fleet.running

    async def test_a_runner_that_dies_is_not_thought_to_run_what_it_has_reported(
        self, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ticker, "SETTLE_SECONDS", PATIENCE + 5)
        async with asyncio.timeout(SOON), tracker_on(store, lease_seconds=1000) as tracker:
            runner = ScriptedRunner(tracker)
            *reported, culprit = await loaded(tracker, runner)
            runner.send([outcome(claim, at=NOW, finished_at=NOW) for claim in reported])
            await let_run()
            tracker.mark_lost(runner.runner_id, "killed")
            number = int(culprit.task_id[-12:], 16)
            task = await until(tracker, number, State.RETRYING)
            assert task.crashes == 1
            tasks = await tracker.read(TasksById([claim.task_id for claim in reported]))
            assert {task.state for task in tasks.values()} == {State.COMPLETED}

    async def test_without_load_outcomes_are_taken_in_at_once(
        self, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ticker, "SETTLE_SECONDS", PATIENCE + 5)
        async with asyncio.timeout(SOON), tracker_on(store, lease_seconds=1000) as tracker:
            runner = ScriptedRunner(tracker)
            await submit(tracker, 1)
            [claim] = await runner.claim()
            await let_run(50)  # the tick that looks once more for whoever has asked meanwhile
            runner.send([outcome(claim, at=NOW, finished_at=NOW)])
            await tracker.wait_until_idle(PATIENCE)
            assert not tracker.fleet.running

    async def test_outcomes_of_a_runner_for_which_tasks_wait_are_taken_in_at_once(
        self, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ticker, "SETTLE_SECONDS", PATIENCE + 5)
        async with asyncio.timeout(SOON), tracker_on(store, lease_seconds=1000) as tracker:
            runner = ScriptedRunner(tracker)
            await submit(tracker, *range(ticker.LOAD))  # of a type that never ran: one by one
            [claim] = await runner.claim()
            orders = await runner.exchange([outcome(claim, at=NOW, finished_at=NOW)])
            assert len(orders.claims) == 1

    async def test_a_delayed_task_runs_on_time_without_being_looked_for(
        self, store: FaultyStore
    ) -> None:
        async with tracker_on(store) as tracker:
            runner = ScriptedRunner(tracker)
            call = runner.send()
            due = time.time() + 0.3
            await submit(tracker, 1, run_at=due)
            await submit(tracker, 2, run_at=due + 3600)
            ticks = store.transactions
            [claim] = (await call).claims
            assert claim.task_id == task_id(1)
            # Long before anything else would have it looked for, however busy the machine is.
            assert due <= time.time() < due + 5.0
            assert store.transactions - ticks <= 2
            assert not await open_tasks(tracker)

    async def test_a_failed_attempt_is_tried_again_after_its_delay(
        self, tracker: Tracker, runner: ScriptedRunner, clock: FakeClock
    ) -> None:
        claim = await claimed(tracker, runner)
        runner.end(claim, OutcomeKind.FAILED, retryable=True, delay_seconds=30.0, error="{}")
        task = await until(tracker, 1, State.RETRYING)
        assert (task.failures, task.run_at) == (1, NOW + 30)
        assert not await open_tasks(tracker)
        clock.advance(30)
        [again] = await runner.claim()
        assert (again.task_id, again.attempt, again.failures) == (task_id(1), 2, 1)

    async def test_attempts_end_when_the_budget_is_used_up(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await claimed(tracker, runner, max_attempts=3)
        for attempt in (1, 2):
            [claim] = await runner.claim([outcome(claim, OutcomeKind.FAILED, retryable=True)])
            assert claim.attempt == attempt + 1
        runner.end(claim, OutcomeKind.FAILED, retryable=True)
        task = await until(tracker, 1, State.FAILED)
        assert (task.attempt, task.failures, task.crashes) == (3, 3, 0)

    async def test_an_attempt_that_is_lost_too_often_fails_for_good(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await claimed(tracker, runner)
        [claim] = await runner.claim([outcome(claim, OutcomeKind.LOST)])
        runner.end(claim, OutcomeKind.LOST)
        task = await until(tracker, 1, State.FAILED)
        assert (task.attempt, task.failures, task.crashes) == (2, 0, 2)

    async def test_a_snooze_and_a_release_cost_nothing(
        self, tracker: Tracker, runner: ScriptedRunner, clock: FakeClock
    ) -> None:
        claim = await claimed(tracker, runner, max_attempts=1)
        runner.end(claim, OutcomeKind.SNOOZED)
        await until(tracker, 1, State.PENDING, attempt=1)
        clock.advance(MIN_SNOOZE_SECONDS)
        tracker.ticker.wake.set()
        [claim] = await runner.claim()
        [claim] = await runner.claim([outcome(claim, OutcomeKind.RELEASED)])
        assert (claim.attempt, claim.failures) == (3, 0)


class TestOutcomes:
    async def test_an_outcome_that_comes_twice_counts_once(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await claimed(tracker, runner)
        runner.end(claim, OutcomeKind.FAILED, retryable=True, delay_seconds=60)
        runner.end(claim, OutcomeKind.FAILED, retryable=True, delay_seconds=60)
        await until(tracker, 1, State.RETRYING)
        runner.end(claim, OutcomeKind.SUCCEEDED)
        await let_run()
        assert (task_id(1), 1) in await runner.acknowledgements()
        task = (await tracker.read(TasksById([task_id(1)])))[task_id(1)]
        assert (task.state, task.failures) == (State.RETRYING, 1)
        assert len((await tracker.read(TaskDetail(task_id(1))))[1]) == 1  # type: ignore[index]

    async def test_the_outcome_of_an_earlier_attempt_changes_nothing(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        first = await claimed(tracker, runner)
        [second] = await runner.claim([outcome(first, OutcomeKind.RELEASED)])
        runner.end(first, OutcomeKind.SUCCEEDED, result='"stale"')
        runner.end(second, OutcomeKind.SUCCEEDED, result='"right"')
        task = await until(tracker, 1, State.COMPLETED)
        assert (task.result, task.attempt) == ('"right"', 2)
        assert (task_id(1), 1) in await runner.acknowledgements()

    async def test_the_outcome_of_somebody_elses_attempt_changes_nothing(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await claimed(tracker, runner)
        other = ScriptedRunner(tracker, "r2")
        other.end(claim, OutcomeKind.FAILED)
        await let_run()
        await other.until_acknowledged(task_id(1), 1)
        runner.end(claim)
        await until(tracker, 1, State.COMPLETED)

    async def test_a_checkpoint_is_acknowledged_when_it_is_on_disk(
        self, tracker: Tracker, runner: ScriptedRunner, store: FaultyStore
    ) -> None:
        claim = await claimed(tracker, runner)
        gate = Gate(store)
        reports = [Report(task_id(1), 1, 41, fraction=0.5), Report(task_id(1), 1, 42, None, "m")]
        reports.append(Report(task_id(1), 1, 43, checkpoint="[1]"))
        call = runner.send(reports=reports)
        await gate.reached()
        assert not call.done()
        gate.open()
        assert (await call).acknowledged_reports == (43,)
        task = (await tracker.read(TasksById([task_id(1)])))[task_id(1)]
        assert (task.progress_fraction, task.progress_message) == (0.5, "m")
        [again] = await runner.claim([outcome(claim, OutcomeKind.FAILED, retryable=True)])
        assert again.checkpoint == "[1]"

    async def test_the_checkpoint_of_an_attempt_that_has_ended_is_told_to_be_stale(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await claimed(tracker, runner)
        runner.end(claim)
        await until(tracker, 1, State.COMPLETED)
        orders = await runner.send(reports=[Report(task_id(1), 1, 7, checkpoint="[1]")])
        assert (orders.stale, orders.acknowledged_reports) == (((task_id(1), 1),), ())


class TestCancel:
    @pytest.mark.parametrize("delay", [0.0, 60.0])
    async def test_what_waits_ends_at_once(self, tracker: Tracker, delay: float) -> None:
        await submit(tracker, 1, run_at=NOW + delay)
        ended = asyncio.ensure_future(wait_final(tracker, task_id(1)))
        await let_run()
        task = await tracker.execute(CancelTask(task_id(1)))
        assert (task.state, task.finished_at) == (State.CANCELLED, NOW)
        assert await asyncio.wait_for(ended, PATIENCE) == task
        assert tracker.backlog == 0

    @pytest.mark.parametrize(
        ("kind", "state"),
        [
            (OutcomeKind.CANCELLED, State.CANCELLED),
            (OutcomeKind.SUCCEEDED, State.COMPLETED),
            (OutcomeKind.FAILED, State.CANCELLED),
            (OutcomeKind.LOST, State.CANCELLED),
            (OutcomeKind.SNOOZED, State.CANCELLED),
            (OutcomeKind.RELEASED, State.CANCELLED),
        ],
    )
    async def test_what_runs_is_stopped_and_never_runs_again(
        self, tracker: Tracker, runner: ScriptedRunner, kind: OutcomeKind, state: State
    ) -> None:
        claim = await claimed(tracker, runner)
        call = runner.send()
        await let_run()
        task = await tracker.execute(CancelTask(task_id(1)))
        assert (task.state, task.cancel_requested) == (State.RUNNING, True)
        assert (await call).cancels == ((task_id(1), 1),)
        runner.end(claim, kind, retryable=True)
        assert (await until(tracker, 1, state)).attempt == 1
        assert tracker.backlog == 0

    async def test_a_runner_that_is_busy_hears_of_it_with_its_next_exchange(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await claimed(tracker, runner)
        await tracker.execute(CancelTask(task_id(1)))
        await tracker.execute(CancelTask(task_id(1)))
        assert (await runner.exchange()).cancels == ((task_id(1), 1),)

    async def test_a_cancel_that_meets_the_outcome_in_one_tick_comes_second(
        self, tracker: Tracker, runner: ScriptedRunner, store: FaultyStore
    ) -> None:
        claim = await claimed(tracker, runner)
        gate = Gate(store)
        blocking = asyncio.ensure_future(submit(tracker, 2, task_type="other"))
        await gate.reached()
        cancel = asyncio.ensure_future(tracker.execute(CancelTask(task_id(1))))
        runner.end(claim, OutcomeKind.FAILED, retryable=True)
        await let_run()
        gate.open()
        await blocking
        assert (await cancel).state is State.CANCELLED

    async def test_an_outcome_that_comes_in_while_the_cancel_is_committed_is_judged_by_it(
        self, tracker: Tracker, runner: ScriptedRunner, store: FaultyStore
    ) -> None:
        claim = await claimed(tracker, runner)
        gate = Gate(store)
        cancel = asyncio.ensure_future(tracker.execute(CancelTask(task_id(1))))
        await gate.reached()
        runner.end(claim, OutcomeKind.FAILED, retryable=True)
        await let_run()
        gate.open()
        await cancel
        await until(tracker, 1, State.CANCELLED)

    @pytest.mark.parametrize("kind", [OutcomeKind.SUCCEEDED, OutcomeKind.FAILED])
    async def test_what_has_ended_cannot_be_cancelled(
        self, tracker: Tracker, runner: ScriptedRunner, kind: OutcomeKind
    ) -> None:
        claim = await claimed(tracker, runner)
        runner.end(claim, kind)
        task = await wait_final(tracker, task_id(1), PATIENCE)
        with pytest.raises(StateConflict, match="cannot be cancelled"):
            await tracker.execute(CancelTask(task_id(1)))
        assert (await tracker.read(TasksById([task_id(1)])))[task_id(1)] == task

    async def test_there_is_no_such_task(self, tracker: Tracker) -> None:
        for kind in (CancelTask, RetryTask):
            with pytest.raises(TaskNotFound, match=task_id(1)):
                await tracker.execute(kind(task_id(1)))


class TestRetry:
    async def test_a_failed_task_gets_a_fresh_budget_and_runs_at_once(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await claimed(tracker, runner, max_attempts=2)
        [claim] = await runner.claim([outcome(claim, OutcomeKind.LOST)])
        [claim] = await runner.claim([outcome(claim, OutcomeKind.FAILED, retryable=True)])
        runner.end(claim, OutcomeKind.FAILED, retryable=True)
        await until(tracker, 1, State.FAILED)
        call = runner.send()
        await let_run()
        task = await tracker.execute(RetryTask(task_id(1)))
        assert (task.state, task.failures, task.crashes) == (State.PENDING, 0, 0)
        [claim] = (await call).claims
        assert (claim.attempt, claim.failures) == (4, 0)
        [claim] = await runner.claim([outcome(claim, OutcomeKind.FAILED, retryable=True)])
        assert claim.attempt == 5

    async def test_a_cancelled_task_can_run_after_all(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await submit(tracker, 1)
        await tracker.execute(CancelTask(task_id(1)))
        await tracker.execute(RetryTask(task_id(1)))
        [claim] = await runner.claim()
        runner.end(claim)
        assert not (await until(tracker, 1, State.COMPLETED)).cancel_requested

    @pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.COMPLETED])
    async def test_others_cannot_be_retried(
        self, tracker: Tracker, runner: ScriptedRunner, state: State
    ) -> None:
        await submit(tracker, 1)
        if state is not State.PENDING:
            [claim] = await runner.claim()
            if state is State.COMPLETED:
                runner.end(claim)
                await until(tracker, 1, state)
        with pytest.raises(StateConflict, match=f"the task is {state}"):
            await tracker.execute(RetryTask(task_id(1)))


class TestWaiting:
    async def test_it_ends_when_the_task_does(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await claimed(tracker, runner)
        waiting = [asyncio.ensure_future(wait_final(tracker, task_id(1))) for _ in range(3)]
        await let_run()
        runner.end(claim, result="[1]")
        tasks = await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)
        assert [task and task.result for task in tasks] == ["[1]"] * 3

    async def test_a_task_that_has_ended_is_told_at_once(self, tracker: Tracker) -> None:
        await submit(tracker, 1)
        task = await tracker.execute(CancelTask(task_id(1)))
        assert await asyncio.wait_for(wait_final(tracker, task_id(1)), PATIENCE) == task

    async def test_there_is_no_such_task(self, tracker: Tracker) -> None:
        assert await asyncio.wait_for(wait_final(tracker, task_id(1)), PATIENCE) is None

    async def test_when_the_time_is_up_it_is_told_as_it_is(self, tracker: Tracker) -> None:
        await submit(tracker, 1)
        task = await wait_final(tracker, task_id(1), 0.01)
        assert task is not None
        assert task.state is State.PENDING
        await let_run()
