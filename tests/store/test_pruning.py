"""Pruning: final tasks that are old enough go, with their history; nothing else does."""

from typing import Any

import pytest
from pydantic_core import to_json

from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import Duplicate
from raytasks.protocol.messages import Report
from raytasks.protocol.queries import TaskDetail, TasksById
from raytasks.store.files import ALL
from raytasks.store.large_checkpoints import GIVEN_UP_SECONDS
from raytasks.store.store import Store
from tests.making import (
    NOW,
    Tracking,
    capacity_request,
    counted,
    ids,
    new_task,
    outcome,
    task_id,
)


def finished(tracking: Tracking, *numbers: int, kind: OutcomeKind = OutcomeKind.SUCCEEDED) -> None:
    """Submit tasks, and end them."""
    for number in numbers:
        tracking.submit(number)
        [running] = tracking.claim(capacity=1)
        tracking.settle(running, kind)


def test_only_final_tasks_that_are_old_enough_are_outdated(store: Store) -> None:
    tracking = Tracking(store)
    finished(tracking, 1, 2)
    tracking.now += 10
    finished(tracking, 3)
    tracking.submit(4)
    tracking.claim(capacity=1)
    tracking.submit(5)
    assert list(store.expired(NOW, 10)) == []
    assert list(store.expired(NOW + 1, 10)) == ids([1, 2])
    assert list(store.expired(NOW + 1, 1)) == ids([1])
    assert list(store.expired(NOW + 11, 10)) == ids([1, 2, 3])


def test_they_go_with_their_attempts_and_their_counts(store: Store) -> None:
    tracking = Tracking(store)
    finished(tracking, 1, 2, 3)
    tracking.tick(prunings=[(ids([1, 2]), NOW + 1)])
    assert set(store.read(TasksById(ids([1, 2, 3])))) == {task_id(3)}
    assert store.read(TaskDetail(task_id(1))) is None
    with store._database.reading() as connection:
        left = connection.exec_driver_sql("SELECT count(*) FROM attempts").scalar_one()
    assert left == 1
    assert counted(store.counts()) == {("short", State.COMPLETED): 1}


def test_one_that_was_retried_meanwhile_stays(store: Store) -> None:
    tracking = Tracking(store)
    finished(tracking, 1, 2, kind=OutcomeKind.CANCELLED)
    tracking.tick(retries=[task_id(1)])
    tracking.tick(prunings=[(ids([1, 2, 9]), NOW + 1)])
    assert set(store.read(TasksById(ids([1, 2])))) == {task_id(1)}
    assert counted(store.counts()) == {("short", State.PENDING): 1}


def test_a_key_is_free_again_with_its_task(store: Store) -> None:
    tracking = Tracking(store)
    first, second, third = (
        new_task(n, idempotency_key="key", request_digest="d") for n in (1, 2, 3)
    )
    assert tracking.tick(submissions=[first]).duplicates == {}
    assert tracking.tick(submissions=[second]).duplicates == {
        task_id(2): Duplicate(task_id(1), same=True)
    }
    tracking.tick(cancels=[task_id(1)])
    tracking.tick(prunings=[(ids([1]), NOW + 1)])
    assert tracking.tick(submissions=[third]).duplicates == {}


class TestFiles:
    """Which tasks have files, so that they are looked for when the task goes."""

    def given_up(self, tracking: Tracking, *numbers: int) -> list[str]:
        """Prune tasks, and return the ids of those whose files are to be removed."""
        tracking.now += 10
        tracking.tick(prunings=[(ids(numbers), tracking.now)])
        due = tracking.store.files_due(tracking.now, 100)
        assert {name for _, name in due} <= {ALL}
        return [name for name, _ in due]

    def test_a_large_payload(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        tracking.submit(2, payload="null", payload_ref="{}")
        tracking.tick(cancels=ids([1, 2]))
        assert self.given_up(tracking, 1, 2) == ids([2])

    @pytest.mark.parametrize(
        "changes",
        [{"result_ref": "{}"}, {"has_files": True}],
        ids=["a large result", "an artifact"],
    )
    def test_what_an_attempt_left(self, store: Store, changes: dict[str, Any]) -> None:
        tracking = Tracking(store)
        tracking.submit(1, 2)
        for running in tracking.claim():
            more = changes if running.task_id == task_id(1) else {}
            tracking.settle(running, OutcomeKind.SUCCEEDED, **more)
        assert self.given_up(tracking, 1, 2) == ids([1])

    def test_it_is_remembered_by_later_attempts(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [first] = tracking.claim()
        tracking.settle(first, OutcomeKind.FAILED, retryable=True, has_files=True)
        [second] = tracking.claim()
        tracking.settle(second, OutcomeKind.SUCCEEDED)
        assert self.given_up(tracking, 1) == ids([1])

    def test_nobody_knows_what_a_lost_attempt_has_left(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [first] = tracking.claim()
        tracking.settle(first, OutcomeKind.LOST)
        [second] = tracking.claim()
        tracking.settle(second, OutcomeKind.SUCCEEDED)
        assert self.given_up(tracking, 1) == ids([1])

    def test_a_large_checkpoint(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.tick(reports=[large(1, 1, "a")])
        tracking.settle(running, OutcomeKind.FAILED)
        assert self.given_up(tracking, 1) == ids([1])

    def test_of_a_task_of_before_nobody_knows(self, store: Store) -> None:
        tracking = Tracking(store)
        finished(tracking, 1)
        with store._database.writing() as connection:
            connection.exec_driver_sql("UPDATE tasks SET has_files = NULL")
        assert self.given_up(tracking, 1) == ids([1])


def large(number: int, attempt: int, name: str) -> Report:
    """Return the report of a checkpoint that is in a file; later names have later numbers."""
    ref = to_json({"bytes": 1, "sha256": "", "name": name}).decode()
    return Report(task_id(number), attempt, ord(name[0]), checkpoint="null", checkpoint_ref=ref)


class TestLargeCheckpoints:
    def removed(self, tracking: Tracking) -> list[str]:
        """Return the names of the files that were given up, an hour later."""
        now = tracking.now
        assert tracking.store.files_due(now + GIVEN_UP_SECONDS - 1, 100) == []
        due = tracking.store.files_due(now + GIVEN_UP_SECONDS, 100)
        return sorted(name for _, name in due)

    def test_it_travels_with_the_claim(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [running] = tracking.claim()
        report = large(1, 1, "a")
        tracking.tick(reports=[report])
        assert [item.large_checkpoint for item in store.running()] == [True]
        tracking.settle(running, OutcomeKind.FAILED, retryable=True)
        [(again, claim)] = tracking.tick(requests=[capacity_request()]).claimed
        assert (claim.checkpoint, claim.checkpoint_ref) == ("null", report.checkpoint_ref)
        assert again.large_checkpoint is True
        tracking.tick(reports=[Report(task_id(1), 2, 1, checkpoint="[1]")])
        tracking.settle(again, OutcomeKind.SNOOZED)
        tracking.now += 5
        [(_, claim)] = tracking.tick(requests=[capacity_request()], promote=True).claimed
        assert (claim.checkpoint, claim.checkpoint_ref) == ("[1]", None)

    def test_one_that_is_replaced_goes(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        tracking.claim()
        for reports in (
            [large(1, 1, "a")],
            [large(1, 1, "a")],
            [large(1, 1, "b"), large(1, 1, "c")],
        ):
            tracking.tick(reports=reports)
        assert self.removed(tracking) == ["a", "b"]
        tracking.tick(reports=[Report(task_id(1), 1, 200, checkpoint="{}")])
        assert self.removed(tracking) == ["a", "b", "c"]

    def test_one_that_comes_too_late_goes_and_replaces_nothing(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        tracking.claim()
        for name in ("b", "c", "a"):
            tracking.tick(reports=[large(1, 1, name)])
        assert self.removed(tracking) == ["a", "b"]

    def test_one_whose_attempt_is_over_replaces_nothing(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.tick(reports=[large(1, 1, "a")])
        tracking.settle(running, OutcomeKind.FAILED, retryable=True)
        tracking.tick(reports=[large(1, 1, "b")])
        tracking.claim()
        tracking.tick(reports=[large(1, 1, "b")])
        assert self.removed(tracking) == []

    @pytest.mark.parametrize("same_tick", [True, False])
    def test_that_of_a_completed_task_goes(self, store: Store, same_tick: bool) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.tick(reports=[large(1, 1, "a")])
        last = large(1, 1, "b")
        if not same_tick:
            tracking.tick(reports=[last])
            [running] = store.running()
        reports = [last] if same_tick else []
        tracking.tick(reports=reports, outcomes=[(running, outcome(running, at=tracking.now))])
        assert self.removed(tracking) == ["a", "b"]

    def test_that_of_a_failed_task_stays_for_a_retry(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        tracking.claim()
        tracking.tick(reports=[large(1, 1, "a")])
        [running] = store.running()
        tracking.settle(running, OutcomeKind.FAILED)
        assert self.removed(tracking) == []
        tracking.tick(retries=[task_id(1)])
        [(_, claim)] = tracking.tick(requests=[capacity_request()]).claimed
        assert claim.checkpoint_ref is not None
