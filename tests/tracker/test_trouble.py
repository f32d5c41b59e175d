"""The tracker in trouble: bad commands, a database that goes away, another tracker."""

import asyncio
import threading
from contextlib import suppress
from typing import Any

import pytest

from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import RaytasksError, StoreUnavailable
from raytasks.protocol.commands import CancelTask, RetryTask
from raytasks.protocol.messages import Claim, Report
from raytasks.protocol.queries import Health, TaskDetail, TasksById
from raytasks.store.transaction import Superseded
from raytasks.testing import FakeClock
from raytasks.tracker.access import SLOW_SECONDS
from raytasks.tracker.core import Tracker
from tests.making import NOW, Tracking, ids, new_task, outcome, task_id
from tests.tracking import LEASE, PATIENCE, FaultyStore, ScriptedRunner, let_run, tracker_on, until

LONE = "\ud800"
"""Half a letter: text that no database can store."""


@pytest.fixture
def runner(tracker: Tracker) -> ScriptedRunner:
    return ScriptedRunner(tracker, pool=REMOTE_POOL)


async def open_tasks(tracker: Tracker) -> int:
    return sum(work.open for work in (await tracker.demand(["short"])).values())


async def submit(tracker: Tracker, *numbers: int, **changes: Any) -> None:
    await tracker.submit([new_task(number, **changes) for number in numbers])


async def claims_of(tracker: Tracker, runner: ScriptedRunner, *numbers: int) -> list[Claim]:
    await submit(tracker, *numbers)
    return await runner.claim()


def begin(tracker: Tracker, *numbers: int, **changes: Any) -> "asyncio.Task[None]":
    return asyncio.ensure_future(submit(tracker, *numbers, **changes))


class TestBadCommands:
    """One bad command does not harm the others of its tick."""

    async def test_a_bad_submission_alone_fails(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        [claim] = await claims_of(tracker, runner, 1)
        await submit(tracker, 2, 3, task_type="other")
        good = begin(tracker, 4, task_type="other")
        bad = begin(tracker, 5, 6, payload=LONE)
        more = begin(tracker, 7, task_type="other")
        cancel = asyncio.ensure_future(tracker.execute(CancelTask(task_id(2))))
        runner.end(claim, result="[1]")
        await asyncio.gather(good, more)
        with pytest.raises(RaytasksError, match="cannot be stored: UnicodeEncodeError") as caught:
            await bad
        assert LONE not in str(caught.value)
        assert (await cancel).state is State.CANCELLED
        await until(tracker, 1, State.COMPLETED)
        assert set(await tracker.read(TasksById(ids(range(9))))) == set(ids([1, 2, 3, 4, 7]))
        assert tracker.backlog == 3

    async def test_what_was_accepted_beside_it_runs_at_once(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        call = runner.send()
        await let_run()
        bad = begin(tracker, 1, payload=LONE)
        good = begin(tracker, 2)
        await good
        with suppress(RaytasksError):
            await bad
        assert [claim.task_id for claim in (await call).claims] == [task_id(2)]

    async def test_a_number_that_does_not_fit(self, tracker: Tracker) -> None:
        with pytest.raises(RaytasksError, match="cannot be stored"):
            await submit(tracker, 1, priority=2**70)
        await submit(tracker, 1)

    async def test_two_that_submit_the_same_id_at_once(self, tracker: Tracker) -> None:
        await asyncio.gather(*(begin(tracker, 1) for _ in range(3)), begin(tracker, 2))
        assert tracker.backlog == 2

    async def test_an_outcome_that_cannot_be_stored_is_kept_as_it_is(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        bad, good = await claims_of(tracker, runner, 1, 2)
        runner.send([outcome(bad, result=LONE), outcome(good, result="[1]")])
        assert (await until(tracker, 2, State.COMPLETED)).result == "[1]"
        await submit(tracker, 3, task_type="other")
        async with asyncio.timeout(PATIENCE):
            while not (set_aside := (await tracker.read(Health()))["tracker"]["set_aside"])[
                "count"
            ]:
                await let_run()
        [named] = set_aside["list"]
        assert named["what"] == f"outcome of task {task_id(1)}, attempt 1"
        assert named["error"] == "UnicodeEncodeError"
        assert (await tracker.read(TasksById([task_id(1)])))[task_id(1)].state is State.RUNNING
        assert await runner.acknowledgements() == [(task_id(2), 1)]

    async def test_a_report_that_cannot_be_stored_is_dropped(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        first, second = await claims_of(tracker, runner, 1, 2)
        reports = [
            Report(first.task_id, 1, 1, message=LONE),
            Report(second.task_id, 1, 2, checkpoint="[1]"),
        ]
        call = runner.send(reports=reports)
        assert (await call).acknowledged_reports == (2,)
        runner.send([outcome(first), outcome(second)])
        await until(tracker, 1, State.COMPLETED)
        await until(tracker, 2, State.COMPLETED)


class TestOutage:
    async def test_submissions_are_refused_and_outcomes_are_kept(
        self, tracker: Tracker, runner: ScriptedRunner, store: FaultyStore
    ) -> None:
        [claim] = await claims_of(tracker, runner, 1)
        store.away = True
        runner.end(claim, result="[1]")
        for number in (2, 3):
            with pytest.raises(StoreUnavailable, match="the database is away"):
                await submit(tracker, number)
        with pytest.raises(StoreUnavailable):
            await tracker.execute(CancelTask(task_id(1)))
        health = await tracker.read(Health())
        assert health["database"] == {"ok": False, "error": "the server is away"}
        store.away = False
        assert (await until(tracker, 1, State.COMPLETED)).result == "[1]"
        await submit(tracker, 4)
        assert (await tracker.read(Health()))["database"] == {"ok": True, "error": None}
        assert set(await tracker.read(TasksById(ids([2, 3, 4])))) == {task_id(4)}

    async def test_runners_hold_on_to_what_they_run(
        self, tracker: Tracker, runner: ScriptedRunner, store: FaultyStore, clock: FakeClock
    ) -> None:
        first, second = await claims_of(tracker, runner, 1, 2)
        store.away = True
        with pytest.raises(StoreUnavailable):
            await submit(tracker, 3)
        clock.advance(2 * LEASE)  # the outage is not the runner's fault
        store.away = False
        await submit(tracker, 3, task_type="other")
        runner.known = False  # as the tracker asks of all after an outage
        runner.send([outcome(first)])
        await until(tracker, 1, State.COMPLETED)
        assert set(tracker.fleet.running) == {second.task_id}

    async def test_a_tick_whose_answer_was_lost_counts_once(
        self, tracker: Tracker, runner: ScriptedRunner, store: FaultyStore
    ) -> None:
        [claim] = await claims_of(tracker, runner, 1)
        store.answer_is_lost = True
        runner.end(claim, OutcomeKind.FAILED, retryable=True, delay_seconds=60.0)
        lost = begin(tracker, 2, task_type="other")
        with pytest.raises(StoreUnavailable):
            await lost
        await submit(tracker, 2, task_type="other")  # its client tries again
        found = await tracker.read(TaskDetail(task_id(1)))
        assert found is not None
        assert (found[0].state, found[0].failures, len(found[1])) == (State.RETRYING, 1, 1)
        assert tracker.backlog == 2
        assert tracker.fleet.running == {}

    async def test_a_retry_whose_commit_is_in_doubt_is_made_once(
        self, tracker: Tracker, store: FaultyStore
    ) -> None:
        await submit(tracker, 1)
        cancelled = await tracker.execute(CancelTask(task_id(1)))
        command = RetryTask(task_id(1), revision=cancelled.revision)
        store.answer_is_lost = True
        with suppress(StoreUnavailable):
            await tracker.execute(command)
        retried = await tracker.execute(command)  # its replica sends it again
        assert (retried.state, retried.revision) == (State.PENDING, cancelled.revision + 1)

    async def test_claims_whose_commit_is_in_doubt_are_given_back_uncharged(
        self, tracker: Tracker, runner: ScriptedRunner, store: FaultyStore
    ) -> None:
        await submit(tracker, 1)
        store.answer_is_lost = True
        assert (await runner.send()).resync
        [claim] = await runner.claim()
        assert (claim.task_id, claim.attempt, claim.failures) == (task_id(1), 2, 0)

    async def test_a_tracker_starts_as_soon_as_the_database_is_there(
        self, store: FaultyStore
    ) -> None:
        store.away = True
        tracker = Tracker(store)
        starting = asyncio.ensure_future(tracker.start())
        refused = begin(tracker, 1)
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(refused, PATIENCE)
        assert tracker.ticker.access.error == "the server is away"
        assert not starting.done()
        store.away = False
        await asyncio.wait_for(starting, PATIENCE)
        assert tracker.ticker.access.error is None
        assert tracker.ticker.epoch == 1  # type: ignore[unreachable]
        await tracker.close()

    async def test_a_runner_waits_for_a_tracker_that_starts(self, store: FaultyStore) -> None:
        store.away = True
        tracker = Tracker(store)
        starting = asyncio.ensure_future(tracker.start())
        call = ScriptedRunner(tracker).send()
        feed = asyncio.ensure_future(tracker.changes(1, 7, PATIENCE))
        await let_run()
        assert not call.done()
        store.away = False
        await asyncio.wait_for(starting, PATIENCE)
        assert (await asyncio.wait_for(feed, PATIENCE)).gap
        call.cancel()
        await tracker.close()

    async def test_memory_that_differs_from_the_database_is_read_anew(
        self, tracker: Tracker, runner: ScriptedRunner, store: FaultyStore
    ) -> None:
        first, _ = await claims_of(tracker, runner, 1, 2)
        # Something else settles the attempt, in the tracker's own epoch.
        intruder = Tracking.__new__(Tracking)
        intruder.store, intruder.now, intruder.max_crashes = store, NOW, 1
        intruder.epoch, intruder.ready_changes = tracker.ticker.epoch, []
        [running] = [item for item in store.running() if item.task_id == first.task_id]
        intruder.settle(running, OutcomeKind.SUCCEEDED, result='"theirs"')
        runner.end(first, result='"ours"')
        await submit(tracker, 3, task_type="other")
        task = (await tracker.read(TasksById([task_id(1)])))[task_id(1)]
        assert task.result == '"theirs"'
        assert set(tracker.fleet.running) == {task_id(2)}
        assert tracker.ticker.ledger.counts["short", State.COMPLETED] == 1


class TestSuccession:
    async def test_a_tracker_that_was_replaced_stops_and_writes_nothing(
        self, store: FaultyStore, sqlite_url: str
    ) -> None:
        tracker = Tracker(store)
        await tracker.start()
        running = asyncio.ensure_future(tracker.run())
        await submit(tracker, 1)
        Tracking(FaultyStore(sqlite_url)).store.close()
        with pytest.raises(StoreUnavailable, match="another tracker has taken over"):
            await submit(tracker, 2)
        with pytest.raises(Superseded):
            await asyncio.wait_for(running, PATIENCE)
        assert await tracker.read(TasksById([task_id(2)])) == {}
        await tracker.close()

    async def test_those_who_wait_are_answered_when_it_closes(self, store: FaultyStore) -> None:
        tracker = Tracker(store)
        await tracker.start()
        waiting = [begin(tracker, number) for number in (1, 2)]
        cancel = asyncio.ensure_future(tracker.execute(CancelTask(task_id(1))))
        await let_run()
        tracker.ticker.inbox.isolate(tracker.ticker.inbox.take(), ValueError("bad"))
        await tracker.close()
        for item in (*waiting, cancel):
            with pytest.raises(StoreUnavailable, match="stopping"):
                await asyncio.wait_for(item, PATIENCE)


class TestStandby:
    """Two clusters on one database: the one that came first stands by for good."""

    async def test_one_that_starts_for_the_first_time_takes_over_at_once(
        self, store: FaultyStore, sqlite_url: str
    ) -> None:
        # The first one may notice, or not yet.
        with suppress(Superseded):
            async with tracker_on(store, owner="first"):
                second = Tracker(FaultyStore(sqlite_url), owner="second")
                await asyncio.wait_for(second.start(), PATIENCE)
                assert second.ticker.epoch == 2
                await second.close()

    async def test_one_that_starts_again_goes_on_at_once(
        self, store: FaultyStore, sqlite_url: str
    ) -> None:
        async with tracker_on(store, owner="first"):
            pass
        again = Tracker(FaultyStore(sqlite_url), owner="first")
        await asyncio.wait_for(again.start(again=True), PATIENCE)
        await again.close()

    async def test_one_that_was_superseded_refuses_all_until_the_other_is_gone(
        self, store: FaultyStore, sqlite_url: str
    ) -> None:
        former = Tracker(FaultyStore(sqlite_url), owner="former", lease_seconds=0.3)
        async with tracker_on(store, owner="present", lease_seconds=0.3) as present:
            starting = asyncio.ensure_future(former.start(again=True))
            for number in range(3):  # each lasts longer than the lease, which the other renews
                with pytest.raises(StoreUnavailable, match="another cluster has taken over"):
                    await begin(former, number)
            report = await former.read(Health())
            assert not report["tracker"]["ok"]
            assert report["database"]["ok"], "it is the other cluster's, and well"
            assert not starting.done()
            await begin(present, 7)
        await asyncio.wait_for(starting, PATIENCE)
        assert former.ticker.epoch == 2
        assert task_id(7) in await former.read(TasksById([task_id(7)]))
        await former.close()


class TestPause:
    async def test_nothing_is_handed_out_until_it_is_over_whoever_is_the_tracker(
        self, store: FaultyStore, sqlite_url: str
    ) -> None:
        async with tracker_on(store) as first:
            await first.pause()
            call = ScriptedRunner(first).send()
            await submit(first, 1)
            await let_run()
            assert not call.done()
            assert not await open_tasks(first)
        async with tracker_on(FaultyStore(sqlite_url)) as second:
            call = ScriptedRunner(second).send()
            await submit(second, 2)
            await let_run()
            assert not call.done()
            await second.resume()
            assert len((await call).claims) == 1

    async def test_it_waits_for_the_tick_that_is_on_its_way(self, store: FaultyStore) -> None:
        async with tracker_on(store) as tracker:
            await submit(tracker, 9, task_type="other")  # the first tick is over
            claiming = ScriptedRunner(tracker).send()
            await let_run()
            loop, reached, gate = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

            def hold_up() -> None:
                store.before_commit = None
                loop.call_soon_threadsafe(reached.set)
                gate.wait(PATIENCE)

            store.before_commit = hold_up
            submitted = begin(tracker, 1)
            await asyncio.wait_for(reached.wait(), PATIENCE)
            pausing = asyncio.ensure_future(tracker.pause())
            await let_run()
            assert not pausing.done()
            gate.set()
            await asyncio.wait_for(pausing, PATIENCE)
            assert set(tracker.fleet.running) == {task_id(1)}  # so that a drain waits for it
            await submitted
            assert len((await claiming).claims) == 1

    async def test_it_is_not_lost_while_a_tracker_starts(self, store: FaultyStore) -> None:
        async with tracker_on(store) as first:
            await first.pause()
        again = FaultyStore(str(store._database.url))
        again.away = True
        tracker = Tracker(again)
        starting = asyncio.ensure_future(tracker.start())
        resuming = asyncio.ensure_future(tracker.resume())
        await let_run()
        assert not resuming.done()
        again.away = False
        await asyncio.wait_for(asyncio.gather(starting, resuming), PATIENCE)
        assert not tracker.ticker.steering.pauses
        assert not again.steering().pauses
        await tracker.close()


async def test_writes_that_wait_together_leave_no_trouble_behind(
    tracker: Tracker, clock: FakeClock
) -> None:
    access = tracker.ticker.access
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    gate = threading.Event()

    def blocked() -> None:
        loop.call_soon_threadsafe(started.set)
        gate.wait(PATIENCE)

    first = asyncio.ensure_future(access.write(blocked))
    await started.wait()
    second = asyncio.ensure_future(access.write(lambda: None))
    await let_run()
    clock.advance(SLOW_SECONDS + 1.0)
    assert "waited for 4 s" in (access.trouble() or "")
    gate.set()
    await asyncio.gather(first, second)
    clock.advance(SLOW_SECONDS + 1.0)
    assert access.trouble() is None


async def test_an_outage_of_tasks_is_not_over_when_other_tables_can_be_written(
    tracker: Tracker, store: FaultyStore, clock: FakeClock
) -> None:
    def rename(before: str, after: str) -> None:
        with store.writing_own() as connection:
            connection.exec_driver_sql(f"ALTER TABLE {before} RENAME TO {after}")

    async def is_well(seconds: float) -> bool:
        clock.advance(seconds)
        tracker.ticker.wake.set()
        await asyncio.wait({asyncio.ensure_future(tracker.ticker.wait_for_tick())}, timeout=0.5)
        await asyncio.sleep(0.1)
        health: dict[str, Any] = await tracker.read(Health())
        well: bool = health["database"]["ok"]
        return well

    await submit(tracker, 1)
    rename("tasks", "elsewhere")
    with pytest.raises(RaytasksError):
        await submit(tracker, 2)
    for _ in range(2):
        assert not await is_well(70.0)  # statistics are written, and the epoch is renewed
    rename("elsewhere", "tasks")
    for _ in range(100):
        if await is_well(LEASE / 2):  # the epoch is to be renewed
            break
    else:
        pytest.fail("the database is there again, and /health does not say so")
    await submit(tracker, 3)
