"""Pruning: final tasks that are old enough go, with their history; nothing else does."""

from making import NOW, Tracking, counted, ids, new_task, task_id

from raytasks.models import Duplicate
from raytasks.states import OutcomeKind, State
from raytasks.store.store import Store


def finished(tracking: Tracking, *numbers: int, kind: OutcomeKind = OutcomeKind.SUCCEEDED) -> None:
    """Submit tasks, and end them."""
    for number in numbers:
        tracking.submit(number)
        [running] = tracking.claim(room=1)
        tracking.settle(running, kind)


def test_only_final_tasks_that_are_old_enough_are_outdated(store: Store) -> None:
    tracking = Tracking(store)
    finished(tracking, 1, 2)
    tracking.now += 10
    finished(tracking, 3)
    tracking.submit(4)
    tracking.claim(room=1)
    tracking.submit(5)
    assert store.outdated(NOW, 10) == []
    assert store.outdated(NOW + 1, 10) == ids([1, 2])
    assert store.outdated(NOW + 1, 1) == ids([1])
    assert store.outdated(NOW + 11, 10) == ids([1, 2, 3])


def test_they_go_with_their_attempts_and_their_counts(store: Store) -> None:
    tracking = Tracking(store)
    finished(tracking, 1, 2, 3)
    tracking.tick(prunings=[(ids([1, 2]), NOW + 1)])
    assert set(store.tasks(ids([1, 2, 3]))) == {task_id(3)}
    assert store.task_with_attempts(task_id(1)) is None
    with store._database.reading() as connection:
        left = connection.exec_driver_sql("SELECT count(*) FROM attempts").scalar_one()
    assert left == 1
    assert counted(store.counts()) == {("short", State.COMPLETED): 1}


def test_one_that_was_retried_meanwhile_stays(store: Store) -> None:
    tracking = Tracking(store)
    finished(tracking, 1, 2, kind=OutcomeKind.CANCELLED)
    tracking.tick(retries=[task_id(1)])
    tracking.tick(prunings=[(ids([1, 2, 9]), NOW + 1)])
    assert set(store.tasks(ids([1, 2]))) == {task_id(1)}
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
