"""The tracker and its runners: what gets lost on the way, who dies, who comes back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from raytasks.model.handler_info import REMOTE_POOL, SHARED_POOL
from raytasks.model.states import LossCause, OutcomeKind, State
from raytasks.protocol.commands import CancelTask
from raytasks.protocol.messages import Claim, Outcome
from raytasks.protocol.queries import TaskDetail, TasksById
from raytasks.testing import FakeClock
from raytasks.tracker.core import Tracker
from tests.making import NOW, ids, new_task, outcome, task_id
from tests.tracking import LEASE, PATIENCE, FaultyStore, ScriptedRunner, let_run, tracker_on, until


@pytest.fixture
async def tracker(store: FaultyStore, clock: FakeClock) -> AsyncIterator[Tracker]:
    async with tracker_on(store, clock=clock, max_crashes=1) as tracker:
        yield tracker


@pytest.fixture
def runner(tracker: Tracker) -> ScriptedRunner:
    return ScriptedRunner(tracker, pool=REMOTE_POOL)


async def submit(tracker: Tracker, *numbers: int, **changes: Any) -> None:
    await tracker.submit([new_task(number, **changes) for number in numbers])


async def attempts(tracker: Tracker, number: int) -> list[tuple[int, OutcomeKind]]:
    found = await tracker.read(TaskDetail(task_id(number)))
    assert found is not None
    return [(item.attempt, item.outcome) for item in found[1]]


async def claimed(tracker: Tracker, runner: ScriptedRunner) -> Claim:
    """Submit task 1 and claim it."""
    await submit(tracker, 1)
    [claim] = await runner.claim()
    return claim


async def end_leases(tracker: Tracker, clock: FakeClock) -> None:
    """Let time pass in steps: what a leap means is that the tracker did not run."""
    for _ in range(4):
        clock.advance(LEASE * 0.3)
        async with asyncio.timeout(PATIENCE):
            while tracker.ticker.looked_at < clock():
                tracker.ticker.wake.set()
                await asyncio.sleep(0)


class TestExchange:
    async def test_a_runner_that_nobody_knows_is_asked_what_it_holds(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = Claim(task_id(1), "short", 1, "", 0, 3, None, None)
        runner.known = True
        orders = await runner.exchange([outcome(claim)])
        assert (orders.resync, orders.acknowledged, orders.claims) == (True, (), ())

    async def test_a_batch_that_did_not_arrive_is_sent_again(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await submit(tracker, 1, 2)
        orders = await runner.exchange()
        runner.last_batch = 0  # as if the answer had been lost
        for _ in range(2):
            again = await tracker.exchange(runner.build())
            assert (again.batch, again.claims) == (orders.batch, orders.claims)
        assert [claim.task_id for claim in again.claims] == ids([1, 2])

    async def test_nothing_more_is_given_until_the_last_batch_has_arrived(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        first = await claimed(tracker, runner)
        await submit(tracker, 2)
        again = await tracker.exchange(runner.build(last_batch=0))
        assert [claim.task_id for claim in again.claims] == [first.task_id]
        assert [claim.task_id for claim in await runner.claim()] == [task_id(2)]

    async def test_a_batch_that_did_not_arrive_is_not_released_when_it_is_sent_again(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await submit(tracker, 1)
        await runner.exchange()
        # The answer was lost: the runner says all that it holds, which is nothing.
        orders = await tracker.exchange(runner.build(last_batch=0, held=()))
        [claim] = orders.claims
        runner.apply(orders)
        runner.end(claim)
        await until(tracker, 1, State.COMPLETED)
        assert await attempts(tracker, 1) == [(1, OutcomeKind.SUCCEEDED)]

    async def test_a_newer_call_ends_the_earlier_one(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        earlier = runner.send()
        await let_run()
        later = runner.send()
        assert (await earlier).claims == ()
        await submit(tracker, 1)
        assert len((await later).claims) == 1

    async def test_a_call_that_is_given_up_breaks_nothing(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        call = runner.send()
        await let_run()
        call.cancel()
        await let_run()
        await submit(tracker, 1)
        assert (await tracker.read(TasksById([task_id(1)])))[task_id(1)].state is State.PENDING
        assert len(await runner.claim()) == 1

    async def test_an_idle_call_is_answered_in_time_with_the_acknowledgements(
        self, store: FaultyStore, clock: FakeClock
    ) -> None:
        async with tracker_on(store, clock=clock, lease_seconds=0.6) as tracker:
            runner = ScriptedRunner(tracker)
            claim = await claimed(tracker, runner)
            orders = await runner.exchange([outcome(claim)])
            while not orders.acknowledged:  # on a slow machine, a commit takes longer than the call
                orders = await runner.exchange([outcome(claim)])
            assert set(orders.acknowledged) == {(task_id(1), 1)}
            assert (await runner.exchange()).acknowledged == ()

    async def test_one_that_leaves_gets_nothing_and_is_done_when_all_is_acknowledged(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        claim = await claimed(tracker, runner)
        await submit(tracker, 2)
        orders = await runner.exchange([outcome(claim)], leaving=True)
        assert (orders.claims, orders.acknowledged) == ((), ((task_id(1), 1),))
        again = await runner.exchange([outcome(claim)], leaving=True)
        assert again.acknowledged == ((task_id(1), 1),)

    async def test_the_news_of_a_stranger_wake_the_tracker_for_nothing_bad(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        ghost = Claim(task_id(77), "short", 4, "", 0, 3, None, None)
        runner.send([outcome(ghost)])
        await let_run()
        await runner.until_acknowledged(task_id(77), 4)
        assert await tracker.read(TasksById([task_id(77)])) == {}


class TestDeath:
    @pytest.fixture
    def runner(self, tracker: Tracker) -> ScriptedRunner:
        """A warm runner: it may be an attempt in it that kills its process."""
        return ScriptedRunner(tracker)

    @pytest.fixture
    async def claim(self, tracker: Tracker, runner: ScriptedRunner) -> Claim:
        return await claimed(tracker, runner)

    async def test_a_runner_that_is_dead_loses_its_attempts(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        tracker.mark_lost("r1", "its node is gone")
        tracker.mark_lost("r1", "told twice")
        tracker.mark_lost("unknown", "never heard of")
        task = await until(tracker, 1, State.RETRYING)
        assert (task.crashes, task.failures) == (1, 0)
        assert "its node is gone" in (task.error or "")
        assert await attempts(tracker, 1) == [(1, OutcomeKind.LOST)]
        [again] = await ScriptedRunner(tracker, "r2").claim()
        assert (again.task_id, again.attempt) == (task_id(1), 2)

    async def test_a_task_that_kills_its_runners_fails_for_good(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        tracker.mark_lost("r1", "gone")
        await ScriptedRunner(tracker, "r2").claim()
        tracker.mark_lost("r2", "gone too")
        task = await until(tracker, 1, State.FAILED)
        assert (task.crashes, task.attempt) == (2, 2)

    async def test_want_of_memory_is_an_outcome_of_its_own(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        tracker.mark_lost("r1", "its node had no memory left", out_of_memory=True)
        assert (await until(tracker, 1, State.RETRYING)).crashes == 0  # others may have taken it
        await ScriptedRunner(tracker, "r2").claim()
        tracker.mark_lost("r2", "again", out_of_memory=True)
        assert (await until(tracker, 1, State.RETRYING, attempt=2)).crashes == 1
        outcomes = [OutcomeKind.OUT_OF_MEMORY] * 2
        assert await attempts(tracker, 1) == list(enumerate(outcomes, start=1))

    async def test_a_death_that_no_handler_can_cause_is_never_charged(
        self, tracker: Tracker
    ) -> None:
        await submit(tracker, 9, task_type="some")
        for life in range(1, 4):
            await ScriptedRunner(tracker, f"life {life}", some=9).claim()
            [running] = tracker.fleet.running.values()
            assert running.company is None
            tracker.mark_lost(f"life {life}", "gone", cause=LossCause.OUTSIDE)
            assert (await until(tracker, 9, State.RETRYING, attempt=life)).crashes == 0

    async def test_the_death_of_a_task_runner_is_charged_to_nobody(
        self, tracker: Tracker, clock: FakeClock
    ) -> None:
        """It dies of no handler. What has begun is lost; what has not is given back."""
        await submit(tracker, 9, task_type="remote")
        for life in range(5):
            runner = ScriptedRunner(tracker, f"life {life}", pool=REMOTE_POOL, remote=9)
            claims = await runner.claim()
            if life % 2:
                await runner.begin(claims, clock())
            tracker.mark_lost(f"life {life}", "gone")
            state = State.RETRYING if life % 2 else State.PENDING
            assert (await until(tracker, 9, state, attempt=life + 1)).crashes == 0
        ends = [OutcomeKind.LOST if life % 2 else OutcomeKind.RELEASED for life in range(5)]
        assert await attempts(tracker, 9) == list(enumerate(ends, start=1))

    @pytest.mark.parametrize(
        ("pool", "place"), [(SHARED_POOL, ("a node", "a process")), (REMOTE_POOL, (None, None))]
    )
    async def test_where_it_was_lost_is_told_if_that_is_known(
        self, tracker: Tracker, pool: str, place: tuple[str | None, str | None]
    ) -> None:
        runner = ScriptedRunner(tracker, "r2", pool=pool)
        call = runner.send(node_id="a node", worker_id="a process")
        await submit(tracker, 1)
        orders = await call
        if pool == REMOTE_POOL:
            runner.known = True
            await runner.begin(orders.claims, NOW)
        tracker.mark_lost("r2", "killed")
        await until(tracker, 1, State.RETRYING)
        found = await tracker.read(TaskDetail(task_id(1)))
        assert found is not None
        [lost] = found[1]
        assert (lost.node_id, lost.worker_id) == place

    async def test_a_leap_of_the_clock_is_nobodys_fault(
        self, tracker: Tracker, runner: ScriptedRunner, clock: FakeClock, claim: Claim
    ) -> None:
        for leap in (LEASE * 3, -LEASE * 5, LEASE * 2):
            clock.advance(leap)
            await submit(tracker, int(abs(leap)), task_type="other")
            assert [item.runner_id for item in tracker.fleet] == ["r1"]
        assert await attempts(tracker, 1) == []

    async def test_a_process_that_was_replaced_is_told_to_end(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        await ScriptedRunner(tracker, "r1-again", name="r1").take_over()
        assert (await runner.exchange([outcome(claim)])).end
        assert [runner.runner_id for runner in tracker.fleet] == ["r1-again"]
        await submit(tracker, 2, task_type="other")  # the tick with its outcome is over
        found = await tracker.read(TaskDetail(task_id(1)))
        assert found is not None
        [history] = found[1]
        assert (history.outcome, history.late_outcome) == (OutcomeKind.LOST, OutcomeKind.SUCCEEDED)

    async def test_the_late_call_of_a_process_that_is_dead_ends_no_other(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        dead = ScriptedRunner(tracker, "r1-before", name="r1")
        for number in (1, 2):  # both were on their way when it died: it has heard no answer
            orders = await tracker.exchange(dead.build(number=number))
            assert orders.resync
            assert not orders.end
        assert [state.runner_id for state in tracker.fleet] == ["r1"]
        ended = runner.end(claim)
        await until(tracker, 1, State.COMPLETED)
        assert not ended.done() or not ended.result().end

    async def test_one_whose_first_answer_was_lost_takes_over_with_the_next(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        again = ScriptedRunner(tracker, "r1-again", name="r1")
        assert (await tracker.exchange(again.build())).resync  # the answer is lost
        await again.take_over()
        assert [state.runner_id for state in tracker.fleet] == ["r1-again"]
        task = await until(tracker, 1, State.RETRYING)
        assert "started again" in (task.error or "")

    async def test_several_late_outcomes_in_one_tick(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        tracker.fleet.averages.add("short", 0.0001)
        await submit(tracker, 1, 2, 3)
        claims: list[Claim] = []
        while len(claims) < 3:
            claims += await runner.claim()
        await ScriptedRunner(tracker, "r1-again", name="r1").take_over()
        assert (await runner.exchange([outcome(claim) for claim in claims])).end
        await submit(tracker, 4, task_type="other")  # the tick with them is over
        for number in (1, 2, 3):
            found = await tracker.read(TaskDetail(task_id(number)))
            assert found is not None
            assert [item.late_outcome for item in found[1]] == [OutcomeKind.SUCCEEDED]

    async def test_a_runner_that_was_ended_gets_nothing_in_its_last_moment(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        call = runner.send()
        await let_run()
        tracker.mark_lost("r1", "its runner was ended")  # which takes Ray some milliseconds
        await call
        await submit(tracker, 1)
        for _ in range(2):  # again as one that says what it holds
            assert (await runner.exchange()).end
        assert list(tracker.fleet) == []
        await ScriptedRunner(tracker, "r2").claim()

    async def test_a_runner_that_was_ended_before_its_first_call_is_not_let_in(
        self, tracker: Tracker
    ) -> None:
        tracker.mark_lost("r1", "its runner was ended")
        assert (await ScriptedRunner(tracker).exchange()).end

    async def test_a_runner_that_comes_back_alone_is_let_in_again(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        tracker.ticker.losses.mark_lost("r1", "it was cut off")
        assert (await runner.exchange()).resync
        [again] = await runner.claim()
        assert (again.task_id, again.attempt) == (task_id(1), 2)

    async def test_a_runner_whose_lease_has_ended_loses_its_attempts(
        self, tracker: Tracker, runner: ScriptedRunner, clock: FakeClock, claim: Claim
    ) -> None:
        await end_leases(tracker, clock)
        task = await until(tracker, 1, State.RETRYING)
        assert task.crashes == 1
        assert list(tracker.fleet) == []

    async def test_its_late_outcome_changes_nothing(
        self, tracker: Tracker, runner: ScriptedRunner, clock: FakeClock, claim: Claim
    ) -> None:
        await end_leases(tracker, clock)
        await until(tracker, 1, State.RETRYING)
        [again] = await ScriptedRunner(tracker, "r2").claim()
        orders = await runner.exchange([outcome(claim, result='"late"')])
        assert orders.resync
        runner.send([outcome(claim, result='"late"')])
        await let_run()
        await runner.until_acknowledged(task_id(1), 1)
        task = (await tracker.read(TasksById([task_id(1)])))[task_id(1)]
        assert (task.state, task.attempt, task.result) == (State.RUNNING, again.attempt, None)
        found = await tracker.read(TaskDetail(task_id(1)))
        assert found is not None
        [history] = found[1]
        assert (history.outcome, history.late_outcome) == (OutcomeKind.LOST, OutcomeKind.SUCCEEDED)
        assert history.late_at == clock()

    async def test_what_it_still_holds_is_told_to_be_stale(
        self, tracker: Tracker, runner: ScriptedRunner, clock: FakeClock, claim: Claim
    ) -> None:
        await end_leases(tracker, clock)
        await until(tracker, 1, State.RETRYING)
        assert (await runner.exchange()).resync
        assert (await runner.exchange()).stale == ((task_id(1), 1),)

    async def test_a_cancel_is_not_told_to_a_call_that_nobody_hears_any_more(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        await tracker.execute(CancelTask(task_id(1)))
        assert (await runner.exchange()).cancels == ((task_id(1), 1),)
        runner.send()
        await let_run()
        runner.known = False  # its connection broke: it says everything again
        assert (await runner.exchange()).cancels == ((task_id(1), 1),)

    async def test_a_runner_that_calls_keeps_its_lease(
        self, tracker: Tracker, runner: ScriptedRunner, clock: FakeClock, claim: Claim
    ) -> None:
        clock.advance(LEASE * 0.75)
        runner.send()
        await let_run()
        clock.advance(LEASE * 0.75)
        await submit(tracker, 2, task_type="other")
        assert [running.task_id for running in tracker.fleet.running.values()] == [task_id(1)]

    async def test_a_new_life_of_a_runner_ends_the_earlier_one(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        reborn = ScriptedRunner(tracker, "r1-again", name="r1", pool=REMOTE_POOL)
        [again] = await reborn.claim()
        assert (again.task_id, again.attempt) == (task_id(1), 2)
        assert await attempts(tracker, 1) == [(1, OutcomeKind.LOST)]
        assert [runner.runner_id for runner in tracker.fleet] == ["r1-again"]

    async def test_runners_of_other_names_are_left_alone(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        ScriptedRunner(tracker, "r2").send()
        await let_run()
        await submit(tracker, 2, task_type="other")
        assert [running.runner_id for running in tracker.fleet.running.values()] == ["r1"]

    async def test_a_runner_that_dies_during_the_tick_that_gives_it_work(
        self, tracker: Tracker, runner: ScriptedRunner, store: FaultyStore
    ) -> None:
        await submit(tracker, 2)
        loop = asyncio.get_running_loop()
        store.before_commit = lambda: loop.call_soon_threadsafe(tracker.mark_lost, "r3", "gone")
        ScriptedRunner(tracker, "r3").send()
        await until(tracker, 2, State.PENDING, attempt=1)
        store.before_commit = None
        assert await attempts(tracker, 2) == [(1, OutcomeKind.RELEASED)]

    async def test_all_attempts_can_be_given_back(
        self, tracker: Tracker, runner: ScriptedRunner, claim: Claim
    ) -> None:
        tracker.ticker.claiming = False
        assert tracker.release_all() == 1
        await tracker.wait_until_idle(5.0)
        task = await until(tracker, 1, State.PENDING, attempt=1)
        assert (task.failures, task.crashes) == (0, 0)


class TestPoison:
    """A runner holds several attempts, and dies of one of them."""

    @pytest.fixture
    async def claims(self, tracker: Tracker) -> list[Claim]:
        for number in range(1, 4):
            tracker.fleet.averages.add("short", 0.001)
            await submit(tracker, number)
        return await ScriptedRunner(tracker).claim()

    async def test_none_of_them_is_charged(self, tracker: Tracker, claims: list[Claim]) -> None:
        assert len(claims) == 3
        tracker.mark_lost("r1", "killed")
        for number in (1, 2, 3):
            assert (await until(tracker, number, State.RETRYING)).crashes == 0

    async def test_each_runs_again_alone_and_only_the_culprit_fails(
        self, tracker: Tracker, claims: list[Claim]
    ) -> None:
        tracker.mark_lost("r1", "killed")
        await until(tracker, 3, State.RETRYING)
        runner, deaths = ScriptedRunner(tracker, "r2"), 0
        ended: list[Outcome] = []
        for _ in range(4):  # two innocent ones, and the culprit twice, as max_crashes is 1
            [claim] = await runner.claim(ended)
            ended = [outcome(claim)]
            if claim.task_id == task_id(2):
                deaths += 1
                tracker.mark_lost(runner.runner_id, "killed again")
                runner, ended = ScriptedRunner(tracker, f"life {deaths}"), []
        runner.send(ended)
        assert (await until(tracker, 2, State.FAILED)).crashes == deaths == 2
        for number in (1, 3):
            assert (await until(tracker, number, State.COMPLETED)).crashes == 0

    async def test_one_that_was_lost_before_has_no_neighbours(
        self, tracker: Tracker, claims: list[Claim]
    ) -> None:
        tracker.mark_lost("r1", "killed")
        await until(tracker, 3, State.RETRYING)
        await submit(tracker, 4)
        [claim] = await ScriptedRunner(tracker, "r2").claim()
        assert claim.task_id in ids([1, 2, 3])

    async def test_what_never_went_out_is_given_back(
        self, tracker: Tracker, store: FaultyStore
    ) -> None:
        await submit(tracker, 2, task_type="other")  # the first tick is over
        runner = ScriptedRunner(tracker, pool=REMOTE_POOL)
        call = runner.send()
        await let_run()
        gate = asyncio.Event()
        loop = asyncio.get_running_loop()

        def hang_up() -> None:
            loop.call_soon_threadsafe(call.cancel)
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(PATIENCE)

        store.before_commit = hang_up
        submitted = asyncio.ensure_future(submit(tracker, 1))
        await asyncio.wait([call])
        store.before_commit = None
        gate.set()
        await submitted
        await until(tracker, 1, State.RUNNING)
        tracker.mark_lost("r1", "killed")
        await until(tracker, 1, State.PENDING, attempt=1)
        assert await attempts(tracker, 1) == [(1, OutcomeKind.RELEASED)]


class TestRestart:
    """A tracker that follows another one: nothing that runs is interrupted."""

    async def test_what_runs_goes_on_and_is_settled_by_the_next_tracker(
        self, store: FaultyStore, sqlite_url: str
    ) -> None:
        async with tracker_on(store) as first:
            runner = ScriptedRunner(first)
            claim = await claimed(first, runner)
        async with tracker_on(FaultyStore(sqlite_url)) as second:
            runner.tracker = second
            assert set(second.fleet.running) == {task_id(1)}
            assert (await runner.exchange([outcome(claim)])).resync
            assert (await runner.exchange([outcome(claim)])).resync  # it may be an old call
            runner.end(claim)
            await until(second, 1, State.COMPLETED)
            assert await attempts(second, 1) == [(1, OutcomeKind.SUCCEEDED)]

    async def test_what_is_held_is_kept_and_what_never_arrived_waits_again(
        self, store: FaultyStore, sqlite_url: str
    ) -> None:
        async with tracker_on(store) as first:
            runner = ScriptedRunner(first, pool=REMOTE_POOL)
            await submit(first, 1, 2, max_attempts=1)
            await runner.claim()
            del runner.held[task_id(2)]  # it never arrived
            runner.held[task_id(3)] = 1  # and this one is of another life
        async with tracker_on(FaultyStore(sqlite_url)) as second:
            runner.tracker, runner.capacity_by_type = second, {"other": 1}
            assert (await runner.exchange()).resync
            assert (await runner.exchange()).resync  # it may be an old call
            call = runner.send()
            task = await until(second, 2, State.PENDING)
            assert (task.attempt, task.failures, task.crashes) == (1, 0, 0)
            assert await attempts(second, 2) == [(1, OutcomeKind.RELEASED)]
            assert (await call).stale == ((task_id(3), 1),)
            assert set(second.fleet.running) == {task_id(1)}

    async def test_batches_of_each_tracker_count_for_themselves(
        self, store: FaultyStore, sqlite_url: str
    ) -> None:
        async with tracker_on(store) as first:
            runner = ScriptedRunner(first, pool=REMOTE_POOL)
            for number in range(3):
                await submit(first, number)
                await runner.claim()
            assert (runner.batch_epoch, runner.last_batch) == (first.ticker.epoch, 3)
        async with tracker_on(FaultyStore(sqlite_url)) as second:
            runner.tracker = second
            await submit(second, 5)
            assert [claim.task_id for claim in await runner.claim()] == [task_id(5)]
            assert (runner.batch_epoch, runner.last_batch) == (second.ticker.epoch, 2)

    async def test_what_an_earlier_tracker_has_sent_is_no_answer_to_a_later_one(
        self, store: FaultyStore, sqlite_url: str
    ) -> None:
        """A call from before the last batch comes late, and its answer is lost."""
        held = ((task_id(1), 1),)
        async with tracker_on(store) as first:
            runner = ScriptedRunner(first, pool=REMOTE_POOL)
            await submit(first, 1)
            await runner.claim()
        async with tracker_on(FaultyStore(sqlite_url)) as second:
            await submit(second, 2)
            late = runner.build(last_batch=0, batch_epoch=0, held=held)
            for exchange in (late, runner.build(held=held)):
                assert (await second.exchange(exchange)).resync
            runner.tracker = second
            [claim] = await runner.claim()
            assert (claim.task_id, claim.attempt) == (task_id(2), 1)

    async def test_a_cancel_is_not_forgotten(self, store: FaultyStore, sqlite_url: str) -> None:
        async with tracker_on(store) as first:
            runner = ScriptedRunner(first)
            claim = await claimed(first, runner)
            await first.execute(CancelTask(task_id(1)))
        async with tracker_on(FaultyStore(sqlite_url)) as second:
            runner.tracker = second
            await runner.exchange()
            await runner.exchange()
            assert (await runner.exchange()).cancels == ((task_id(1), 1),)
            runner.end(claim, OutcomeKind.FAILED, retryable=True)
            await until(second, 1, State.CANCELLED)

    async def test_a_runner_that_does_not_come_back_loses_its_attempts(
        self, store: FaultyStore, sqlite_url: str, clock: FakeClock
    ) -> None:
        async with tracker_on(store, clock=clock) as first:
            await claimed(first, ScriptedRunner(first))
        clock.advance(LEASE * 100)  # the time without a tracker is nobody's fault
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as second:
            await submit(second, 2, task_type="other")
            assert set(second.fleet.running) == {task_id(1)}
            await end_leases(second, clock)
            # Nobody knows whether it was a task runner; the next time it is charged.
            assert (await until(second, 1, State.RETRYING)).crashes == 0
            await ScriptedRunner(second, "r2").claim()
            second.mark_lost("r2", "gone")
            assert (await until(second, 1, State.RETRYING, attempt=2)).crashes == 1

    async def test_times_and_counts_are_read_back(
        self, store: FaultyStore, sqlite_url: str, clock: FakeClock
    ) -> None:
        async with tracker_on(store, clock=clock) as first:
            await submit(first, 1, run_at=NOW + 60)
        async with tracker_on(FaultyStore(sqlite_url), clock=clock) as second:
            assert second.backlog == 1
            call = ScriptedRunner(second).send()
            await let_run()
            assert not call.done()
            clock.advance(60)
            second.ticker.wake.set()
            assert [claim.task_id for claim in (await call).claims] == [task_id(1)]
