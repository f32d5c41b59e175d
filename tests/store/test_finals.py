"""The callbacks that the transaction inserts which ends their parents, whatever the path."""

from typing import Any

import pytest
from msgspec import json
from sqlalchemy import func, select

from raytasks.model.bulk_operations import NewBulk
from raytasks.model.callbacks import CALLBACK_TYPE, callback_id_of
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import Task
from raytasks.protocol.queries import TasksById
from raytasks.store import transaction as transactions
from raytasks.store.schema import tasks
from raytasks.store.store import Store
from raytasks.tracker.bulk_turns import make, run_step
from raytasks.tracker.sharing import CapacityRequest
from tests.making import NOW, Tracking, bulk_filter, capacity_request, new_task, outcome, task_id

URL = "https://example.com/hook"
MANY = 10_000


class Fault(Exception):
    """The tracker dies here."""


@pytest.fixture
def tracking(store: Store) -> Tracking:
    return Tracking(store, now=NOW, max_crashes=0)


def called(store: Store) -> list[Task]:
    """Return all callbacks."""
    with store._database.reading() as connection:
        query = select(tasks.c.task_id).where(tasks.c.task_type == CALLBACK_TYPE)
        ids = [str(found) for found in connection.execute(query).scalars()]
    return list(store.read(TasksById(ids)).values())


def parent(store: Store, number: int = 1) -> Task:
    return store.read(TasksById([task_id(number)]))[task_id(number)]


def settled(tracking: Tracking, kind: OutcomeKind, **more: Any) -> Any:
    """Claim the task, and end its attempt."""
    [(running, _)] = tracking.tick(requests=[capacity_request()]).claimed
    return tracking.tick(outcomes=[(running, outcome(running, kind, **more))])


def check_one(store: Store, state: State) -> Task:
    """Check that the parent has ended so, and that there is one callback, for this end."""
    ended = parent(store)
    assert ended.state is state
    [made] = called(store)
    assert made.task_id == callback_id_of(ended)
    assert (made.state, made.callback_url) == (State.PENDING, None)
    assert made.created_at == made.run_at == ended.finished_at
    payload = json.decode(made.payload)
    assert (payload["url"], payload["task_id"]) == (URL, ended.task_id)
    assert payload["event"]["type"] == f"task.{state.lower()}"
    return made


@pytest.mark.parametrize(
    ("kind", "more", "state"),
    [
        (OutcomeKind.SUCCEEDED, {}, State.COMPLETED),
        (OutcomeKind.FAILED, {"retryable": False}, State.FAILED),
        (OutcomeKind.TIMED_OUT, {"retryable": False}, State.FAILED),
        (OutcomeKind.LOST, {"charged": True}, State.FAILED),
        (OutcomeKind.CANCELLED, {}, State.CANCELLED),
    ],
)
def test_the_end_of_an_attempt(
    store: Store, tracking: Tracking, kind: OutcomeKind, more: dict[str, Any], state: State
) -> None:
    tracking.tick(submissions=[new_task(1, callback_url=URL)])
    done = settled(tracking, kind, **more)
    made = check_one(store, state)
    assert (made.task_id, State.PENDING) in [(item.task_id, item.state) for item in done.changes]


def test_a_cancel_of_a_waiting_task(store: Store, tracking: Tracking) -> None:
    tracking.tick(submissions=[new_task(1, callback_url=URL)])
    tracking.tick(cancels=[task_id(1)])
    check_one(store, State.CANCELLED)


def test_a_cancel_of_many(store: Store, tracking: Tracking) -> None:
    tracking.tick(submissions=[new_task(1, callback_url=URL), new_task(2)])
    new = NewBulk("0198ffff-0000-7000-8000-000000000001", bulk_filter("cancel"), NOW)
    make(store, tracking.epoch, NOW, new)
    step = run_step(store, tracking.epoch, NOW, "")
    assert step is not None
    made = check_one(store, State.CANCELLED)
    assert made.task_id in [change.task_id for change in step.changes]
    assert step.counts["default", CALLBACK_TYPE, State.PENDING] == 1


@pytest.mark.parametrize("kind", [OutcomeKind.FAILED, OutcomeKind.SNOOZED, OutcomeKind.RELEASED])
def test_what_runs_again_calls_nobody(store: Store, tracking: Tracking, kind: OutcomeKind) -> None:
    tracking.tick(submissions=[new_task(1, callback_url=URL)])
    settled(tracking, kind, retryable=True)
    assert called(store) == []


def test_a_task_without_a_url_calls_nobody(store: Store, tracking: Tracking) -> None:
    tracking.tick(submissions=[new_task(1)])
    settled(tracking, OutcomeKind.SUCCEEDED)
    assert called(store) == []


def test_each_end_of_a_task_that_is_retried(store: Store, tracking: Tracking) -> None:
    tracking.tick(submissions=[new_task(1, callback_url=URL)])
    settled(tracking, OutcomeKind.FAILED, retryable=False)
    first = check_one(store, State.FAILED)
    tracking.tick(retries=[task_id(1)])
    assert called(store) == [first]
    settled(tracking, OutcomeKind.SUCCEEDED)
    types = {json.decode(made.payload)["event"]["type"] for made in called(store)}
    assert (len(called(store)), types) == (2, {"task.failed", "task.completed"})


def test_an_end_and_a_retry_in_one_tick(store: Store, tracking: Tracking) -> None:
    tracking.tick(submissions=[new_task(1, callback_url=URL)])
    [(running, _)] = tracking.tick(requests=[capacity_request()]).claimed
    done = tracking.tick(
        outcomes=[(running, outcome(running, OutcomeKind.FAILED, retryable=False))],
        retries=[task_id(1)],
    )
    assert parent(store).state is State.PENDING
    [made] = called(store)
    assert json.decode(made.payload)["event"]["type"] == "task.failed"
    assert made.task_id in [item.task_id for item in done.changes]


def test_another_tracker_knows_of_the_callbacks_of_running_tasks(
    store: Store, tracking: Tracking
) -> None:
    tracking.tick(submissions=[new_task(1, callback_url=URL)])
    tracking.tick(requests=[capacity_request()])
    [running] = store.running()
    assert running.callback_url == URL
    tracking.tick(outcomes=[(running, outcome(running))])
    check_one(store, State.COMPLETED)


def test_a_callback_is_claimed_like_any_task(store: Store, tracking: Tracking) -> None:
    tracking.tick(submissions=[new_task(1, callback_url=URL)])
    settled(tracking, OutcomeKind.SUCCEEDED)
    request = CapacityRequest("r1", {CALLBACK_TYPE: 5}, 5, seconds=None, empty=False)
    [(running, claim)] = tracking.tick(requests=[request]).claimed
    assert running.task_type == CALLBACK_TYPE
    assert json.decode(claim.payload)["url"] == URL
    tracking.tick(outcomes=[(running, outcome(running))])
    [made] = called(store)
    assert made.state is State.COMPLETED


def test_no_end_without_its_callback(
    store: Store, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tracker dies before the commit or just after it, with 10,000 ends in the transaction."""
    for start in range(0, MANY, 1000):
        numbers = range(start, start + 1000)
        tracking.tick(submissions=[new_task(number, callback_url=URL) for number in numbers])
    claimed = tracking.tick(requests=[capacity_request(capacity=MANY, short=MANY)]).claimed
    assert len(claimed) == MANY
    outcomes = [(running, outcome(running)) for running, _ in claimed]

    def die(_transaction: Any) -> None:
        raise Fault

    with monkeypatch.context() as dying:
        dying.setattr(transactions.Transaction, "finish", die)
        with pytest.raises(Fault):
            tracking.tick(outcomes=outcomes)
    assert ends_and_callbacks(store) == (0, 0)
    tracking.tick(outcomes=outcomes)  # its answer is lost, so the runner reports them again
    assert ends_and_callbacks(store) == (MANY, MANY)
    later = Tracking(store, now=NOW, max_crashes=0)
    assert store.running() == []
    with pytest.raises(transactions.FenceBroken):
        later.tick(outcomes=outcomes)
    assert ends_and_callbacks(store) == (MANY, MANY)
    expected = {callback_id_of(parent(store, number)) for number in range(0, MANY, 997)}
    assert expected <= {made.task_id for made in called(store)}


def ends_and_callbacks(store: Store) -> tuple[int, int]:
    """Return how many tasks of the test have ended, and how many callbacks wait."""
    with store._database.reading() as connection:
        ended = select(func.count()).where(
            tasks.c.finished_at.is_not(None), tasks.c.callback_url.is_not(None)
        )
        waiting = select(func.count()).where(tasks.c.task_type == CALLBACK_TYPE)
        return connection.execute(ended).scalar_one(), connection.execute(waiting).scalar_one()


def test_what_was_noted_cannot_be_forgotten(store: Store) -> None:
    with store.transaction(now=NOW) as transaction:
        transaction.finals.note([task_id(1)])
        with pytest.raises(AssertionError, match="1 callbacks were not inserted"):
            transaction.finish()
