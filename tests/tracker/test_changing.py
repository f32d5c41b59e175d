"""Changes and deletions of tasks by the tracker: in one tick with others, repeated, in order."""

import asyncio
from typing import Any

import pytest
from msgspec import json

from raytasks.model.changes import TaskChanges
from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.lane_names import lane_of
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import (
    DEFAULT_NAMESPACE,
    RevisionConflict,
    StateConflict,
    Task,
    TaskNotFound,
)
from raytasks.protocol import codec
from raytasks.protocol.commands import CancelTask, ChangeTask, DeleteTask, RetryTask
from raytasks.protocol.queries import TasksById
from raytasks.store.store import Store
from raytasks.tracker.acting import Target
from raytasks.tracker.core import Tracker
from tests.making import NOW, Tracking, ids, new_task, outcome, task_id
from tests.tracking import ScriptedRunner, let_run, until


@pytest.fixture
def runner(tracker: Tracker) -> ScriptedRunner:
    """A runner that does as the test says."""
    return ScriptedRunner(tracker)


class TestInOneTick:
    def test_a_change_and_a_cancel_both_count(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        change = Target(task_id(1), by="a", changes=TaskChanges(priority=3), revision=0)
        done = tracking.tick(changes=[change], cancels=[task_id(1)])
        task = tracking.task(1)
        assert (task.state, task.priority, task.revision) == (State.CANCELLED, 3, 2)
        assert [(item.state, item.revision) for item in done.changes] == [
            (State.PENDING, 1), (State.CANCELLED, 2),
        ]  # fmt: skip
        assert [item.action for item in done.acted.audit] == ["change", "cancel"]

    def test_of_two_changes_of_one_revision_one_counts(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        targets = [
            Target(task_id(1), changes=TaskChanges(priority=number), revision=0)
            for number in (3, 3, 4)
        ]
        first, again, other = tracking.tick(changes=targets).acted.changed
        assert isinstance(first, Task)
        assert again == first
        assert isinstance(other, RevisionConflict)
        assert tracking.task(1).priority == 3

    def test_of_two_retries_with_other_values_the_first_counts(self, store: Store) -> None:
        """The second is told that its values do not count, as it would be a tick later."""
        tracking = Tracking(store)
        tracking.submit(1)
        tracking.tick(cancels=[task_id(1)])
        asked = [TaskChanges(payload="1"), TaskChanges(payload="1"), TaskChanges(payload="2"), None]
        work = [Target(task_id(1), changes=changes) for changes in asked]
        first, again, other, plain = tracking.tick(retries=work).acted.conflicts
        assert (first, again) == (None, None)
        assert isinstance(other, StateConflict)
        assert isinstance(plain, StateConflict)
        assert (tracking.task(1).payload, tracking.task(1).state) == ("1", State.PENDING)

    def test_of_two_retries_with_one_large_payload_both_count(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        tracking.tick(cancels=[task_id(1)])
        refs = [json.encode({"bytes": 9, "sha256": "a", "name": name}).decode() for name in "xy"]
        work = [
            Target(task_id(1), changes=TaskChanges(payload="null", payload_ref=ref)) for ref in refs
        ]
        assert tracking.tick(retries=work).acted.conflicts == [None, None]
        assert tracking.task(1).payload_ref == refs[0]

    def test_a_retry_of_what_cannot_be_retried_is_in_conflict(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1, 2)
        work = [task_id(number) for number in (1, 3, 2)]
        done = tracking.tick(cancels=[task_id(2)], retries=work).acted
        waits, unknown, just_cancelled = done.conflicts
        assert "PENDING" in str(waits)
        assert unknown is None  # who asked is told that there is no such task
        assert "PENDING" in str(just_cancelled)
        assert tracking.state(2) is State.CANCELLED

    def test_what_is_retried_is_not_deleted(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        tracking.tick(cancels=[task_id(1)])
        done = tracking.tick(retries=[task_id(1)], deletes=[task_id(1)])
        assert isinstance(done.acted.deleted[0], StateConflict)
        assert tracking.state(1) is State.PENDING

    def test_what_is_cancelled_can_be_deleted(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        done = tracking.tick(cancels=[task_id(1)], deletes=[task_id(1), task_id(1)])
        first, second = done.acted.deleted
        assert isinstance(first, Task)
        assert isinstance(second, TaskNotFound)
        assert done.acted.after[task_id(1)].state is State.CANCELLED


async def test_two_people_retry_a_task_with_other_values_at_once(tracker: Tracker) -> None:
    await tracker.submit([new_task(1)])
    await tracker.execute(CancelTask(task_id(1)))
    mine, yours = await asyncio.gather(
        *(
            tracker.execute(RetryTask(task_id(1), by=by, changes=TaskChanges(payload=payload)))
            for by, payload in (("ann", "1"), ("bob", "2"))
        ),
        return_exceptions=True,
    )
    assert isinstance(mine, Task)
    assert mine.payload == "1"
    assert isinstance(yours, StateConflict)


def test_what_has_begun_no_longer_expires(store: Store) -> None:
    tracking = Tracking(store)
    tracking.submit(1)
    [running] = tracking.claim()
    tracking.settle(running, OutcomeKind.SNOOZED, delay_seconds=50.0)
    revision = tracking.task(1).revision
    assert isinstance(tracking.change(1, revision, expires_seconds=5.0), StateConflict)
    assert isinstance(tracking.change(1, revision, expires_at=None), Task)


def test_a_new_due_time_counts_from_the_trackers_clock(store: Store) -> None:
    tracking = Tracking(store)
    tracking.submit(1, run_at=NOW + 500)
    tracking.now += 100
    done = tracking.change(1, 0, delay_seconds=30.0, expires_seconds=40.0)
    assert isinstance(done, Task)
    assert (done.run_at, done.expires_at) == (NOW + 130, NOW + 140)
    assert store.next_due() == NOW + 130
    tracking.change(1, 1, run_at=NOW + 1)
    assert store.next_due() is None
    assert [running.task_id for running in tracking.claim()] == [task_id(1)]


@pytest.mark.parametrize(
    "command",
    [
        ChangeTask("x", 3, TaskChanges(priority=1, tags=None, payload="null"), "space", "me"),
        ChangeTask("x", 3, TaskChanges(timeout_seconds=None, expires_at=None)),
        RetryTask("x", "space", "me", TaskChanges(delay_seconds=0.5)),
        RetryTask("x"),
        DeleteTask("x", "space", "me"),
    ],
)
def test_commands_travel(command: Any) -> None:
    assert codec.command_of(codec.encode(command)) == command


class TestByTheTracker:
    async def test_what_is_due_by_a_change_runs_at_once(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await tracker.submit([new_task(1, run_at=None, delay_seconds=900.0)])
        call = runner.send()
        await let_run()
        command = ChangeTask(task_id(1), 0, TaskChanges(delay_seconds=0.0, payload="[1]"))
        after = await tracker.execute(command)
        assert after.revision == 1
        [claim] = (await call).claims
        assert (claim.task_id, claim.payload) == (task_id(1), "[1]")
        with pytest.raises(StateConflict, match="RUNNING"):
            await tracker.execute(command)

    async def test_one_that_was_put_off_holds_up_others_until_it_is_changed(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        limit = Limit("order", running=1, by="/key", ordered=True)
        tracker.set_handlers([HandlerInfo("short", HandlerKind.FUNCTION, (0, 1), limits=(limit,))])
        values = '{"order":1}'
        place = {"limit_values": values, "lane": lane_of(DEFAULT_NAMESPACE, values)}
        await tracker.submit([new_task(n, run_at=None, **place) for n in (1, 2)])
        [first] = await runner.claim()
        put_off = outcome(first, OutcomeKind.SNOOZED, delay_seconds=900.0)
        call = runner.send([put_off])
        await let_run()
        changes = TaskChanges(delay_seconds=0.0)
        await tracker.execute(ChangeTask(task_id(1), 2, changes))
        orders = await call
        while not orders.claims:
            orders = await runner.send()
        [claim] = orders.claims
        assert (claim.task_id, claim.attempt) == (task_id(1), 2)

    async def test_one_that_comes_to_the_front_of_its_order_is_the_next_one(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        limit = Limit("order", running=1, by="/key", ordered=True)
        tracker.set_handlers([HandlerInfo("short", HandlerKind.FUNCTION, (0, 1), limits=(limit,))])
        values = '{"order":1}'
        place = {"limit_values": values, "lane": lane_of(DEFAULT_NAMESPACE, values)}
        await tracker.submit([new_task(1, run_at=None, delay_seconds=900.0, priority=5, **place)])
        waiting = asyncio.ensure_future(runner.claim())
        await let_run()
        change = ChangeTask(task_id(1), 0, TaskChanges(delay_seconds=0.0))
        later = tracker.submit([new_task(2, run_at=None, **place)])
        await asyncio.gather(later, tracker.execute(change))
        [claim] = await waiting
        assert claim.task_id == task_id(1)

    async def test_what_is_deleted_is_unknown(
        self, tracker: Tracker, runner: ScriptedRunner
    ) -> None:
        await tracker.submit([new_task(1, run_at=None)])
        [claim] = await runner.claim()
        with pytest.raises(StateConflict, match="cancel it first"):
            await tracker.execute(DeleteTask(task_id(1)))
        await runner.send([outcome(claim)])
        with pytest.raises(TaskNotFound):
            await tracker.execute(DeleteTask(task_id(1), "elsewhere"))
        deleted = await tracker.execute(DeleteTask(task_id(1)))
        assert deleted.state is State.COMPLETED
        for command in (DeleteTask(task_id(1)), RetryTask(task_id(1))):
            with pytest.raises(TaskNotFound):
                await tracker.execute(command)
        assert sum(tracker.ticker.ledger.tasks.values()) == 0


async def test_a_late_copy_of_a_submission_does_not_make_a_deleted_task_again(
    tracker: Tracker, runner: ScriptedRunner
) -> None:
    await tracker.submit([new_task(1), new_task(2)])
    runner.end((await runner.claim())[0])
    await until(tracker, 1, State.COMPLETED)
    await tracker.execute(DeleteTask(task_id(1), DEFAULT_NAMESPACE))
    assert await tracker.submit([new_task(1), new_task(3)]) == {}
    found = await tracker.read(TasksById(ids((1, 2, 3))))
    assert set(found) == {task_id(2), task_id(3)}
    await runner.hang_up()
