"""Totals: whatever happens, what was submitted and retried has finished or is open."""

from collections import Counter
from collections.abc import Callable

import pytest

from raytasks.model.bulk_operations import BulkAction, BulkFilter, NewBulk
from raytasks.model.states import OutcomeKind
from raytasks.store.store import Store
from raytasks.tracker.bulk_turns import make, run_step
from tests.making import NOW, Tracking, ids, lane_ask, new_task, outcome, task_id
from tests.metrics_check import check_identity


@pytest.fixture
def tracking(store_url: str, open_store: Callable[..., Store]) -> Tracking:
    """A tracker's part on a database of each kind."""
    return Tracking(open_store(store_url))


def totals(tracking: Tracking, task_type: str = "short") -> dict[str, int]:
    """Return the totals of a type, and check that they add up."""
    found: Counter[str] = Counter()
    for (_, kind, name), number in check_identity(tracking.store).items():
        if kind == task_type:
            found[name] += number
    return dict(found)


def test_each_end_counts_once(tracking: Tracking) -> None:
    tracking.submit(*range(10), max_attempts=1)
    claimed = tracking.claim()
    kinds = [*OutcomeKind, OutcomeKind.SUCCEEDED, OutcomeKind.FAILED]
    for running, kind in zip(claimed, kinds, strict=True):
        tracking.settle(running, kind)
    assert totals(tracking) == {
        "submitted": 10,
        "finished.COMPLETED": 2,
        "finished.FAILED": 3,
        "finished.CANCELLED": 1,
        "attempts.failed": 2,
        "attempts.timed_out": 1,
        "attempts.snoozed": 1,
        "attempts.released": 1,
        "attempts.cancelled": 1,
        "attempts.lost": 1,
        "attempts.out_of_memory": 1,
        "charged": 2,
    }


def test_what_is_not_charged_is_not_counted_as_charged(tracking: Tracking) -> None:
    tracking.submit(1, 2)
    one, other = tracking.claim()
    tracking.settle(one, OutcomeKind.LOST, charged=False)
    tracking.tick(cancels=[other.task_id])
    stopped = next(item for item in tracking.store.running() if item.task_id == other.task_id)
    tracking.settle(stopped, OutcomeKind.LOST)  # it runs no more: there is no budget to charge
    found = totals(tracking)
    assert found["attempts.lost"] == 2
    assert "charged" not in found
    assert found["finished.CANCELLED"] == 1


def test_a_refused_submission_is_none(tracking: Tracking) -> None:
    tracking.tick(submissions=[new_task(1, idempotency_key="a", request_digest="a")])
    tracking.tick(
        submissions=[new_task(2, idempotency_key="a", request_digest="a"), new_task(3)],
    )
    assert totals(tracking) == {"submitted": 2}


def test_cancels_and_retries_count_as_often_as_they_change_something(tracking: Tracking) -> None:
    tracking.submit(1, 2)
    for _ in range(2):
        tracking.tick(cancels=ids([1, 99]))
    for _ in range(2):
        tracking.tick(retries=ids([1, 2, 99]))
    tracking.tick(cancels=ids([1]))
    assert totals(tracking) == {"submitted": 2, "retried": 1, "finished.CANCELLED": 2}


@pytest.mark.parametrize("action", list(BulkAction))
def test_a_bulk_operation_counts_like_its_steps(tracking: Tracking, action: BulkAction) -> None:
    tracking.submit(*range(5))
    tracking.submit(5, namespace="other")
    if action is not BulkAction.CANCEL:
        tracking.tick(cancels=ids(range(6)))
    asked = BulkFilter(action)
    make(tracking.store, tracking.epoch, NOW, NewBulk(task_id(999), asked, NOW))
    added: Counter[tuple[str, str, str]] = Counter()
    while (step := run_step(tracking.store, tracking.epoch, NOW, "")) is not None:
        added.update(step.totals)
    names = {BulkAction.RETRY: "retried", BulkAction.CANCEL: "finished.CANCELLED"}
    counted = {("default", "short", names[action]): 5} if action in names else {}
    assert added == counted  # a deletion changes no total
    assert totals(tracking)["submitted"] == 6


def test_pruning_changes_no_total(tracking: Tracking) -> None:
    tracking.submit(1, 2, 3)
    for running in tracking.claim(capacity=2):
        tracking.settle(running, OutcomeKind.SUCCEEDED)
    before = totals(tracking)
    tracking.tick(prunings=[(ids([1, 2, 3]), NOW + 1)])
    assert totals(tracking) == before
    assert sum(tracking.store.counts().values()) == 1


def test_a_late_outcome_counts_once(tracking: Tracking) -> None:
    tracking.submit(1)
    [running] = tracking.claim()
    tracking.settle(running, OutcomeKind.LOST)
    late = (running.runner_id, outcome(running))
    for _ in range(2):
        tracking.tick(late=[late, late, ("other", outcome(running))])
    assert totals(tracking)["late"] == 1


def test_the_oldest_due_task_of_each_type_is_found(tracking: Tracking) -> None:
    tracking.submit(1, run_at=NOW - 50)
    tracking.submit(2, run_at=NOW - 70)
    tracking.submit(3, task_type="long", run_at=NOW - 20, priority=1)
    tracking.submit(4, task_type="long", run_at=NOW - 30)
    tracking.submit(5, task_type="later", run_at=NOW + 30)
    asks = tracking.lane_asks("short", "long", "later")
    assert tracking.store.oldest_due(asks) == {"short": NOW - 70, "long": NOW - 30}
    first = [ask._replace(limit=1) for ask in asks]
    assert tracking.store.oldest_due(first)["long"] == NOW - 20  # the first in order
    many = [lane_ask(10, f"type-{number}") for number in range(250)]
    assert tracking.store.oldest_due([*many, lane_ask(10)]) == {"short": NOW - 70}
    later = [lane_ask(10, floor=NOW - 60)]
    assert tracking.store.oldest_due(later) == {"short": NOW - 50}
