"""Expiry: what has never begun by its time is cancelled, and no claim takes it."""

from collections.abc import Callable

import pytest
from msgspec import json

from raytasks.model.states import OutcomeKind, State
from raytasks.model.uniqueness import Unique, encode_unique
from raytasks.store import expiry
from raytasks.store.store import Store
from tests.making import NOW, Tracking, new_task, task_id


@pytest.fixture
def tracking(store_url: str, open_store: Callable[..., Store]) -> Tracking:
    return Tracking(open_store(store_url))


def test_what_has_not_begun_by_its_time_is_cancelled(tracking: Tracking) -> None:
    spec = encode_unique(Unique("k"))
    tracking.submit(1, expires_at=NOW + 10.0, unique_spec=spec, tags='["a"]')
    tracking.submit(2, expires_at=NOW + 20.0)
    tracking.submit(3)
    assert tracking.store.next_expiry() == NOW + 10.0
    tracking.now += 10.0
    done = tracking.tick(expire=True)
    assert done.next_expiry == NOW + 20.0
    task = tracking.task(1)
    assert (task.state, task.revision, task.finished_at) == (State.CANCELLED, 1, NOW + 10.0)
    assert not task.cancel_requested
    assert json.decode(task.cancel_reason or "") == {"code": "expired", "message": None, "by": None}
    [change] = done.changes
    assert (change.task_id, change.state, change.revision) == (task_id(1), State.CANCELLED, 1)
    assert (change.by, change.action, change.tags) == (None, None, '["a"]')
    assert done.counts == {
        ("default", "short", State.PENDING): -1, ("default", "short", State.CANCELLED): 1,
    }  # fmt: skip
    assert done.totals == {
        ("default", "short", "finished.CANCELLED"): 1, ("default", "short", "expired"): 1,
    }  # fmt: skip
    again = tracking.tick(submissions=[new_task(4, unique_spec=spec)])
    assert again.duplicates == {}  # the key is free


def test_what_waits_for_its_time_expires_too(tracking: Tracking) -> None:
    tracking.submit(1, run_at=NOW + 5.0, expires_at=NOW + 10.0)
    tracking.now += 10.0
    tracking.tick(expire=True)
    assert tracking.state(1) is State.CANCELLED
    assert tracking.ready_changes == []


def test_a_claim_takes_nothing_that_has_expired(tracking: Tracking) -> None:
    tracking.submit(1, 2, expires_at=NOW + 10.0)
    tracking.submit(3)
    tracking.now += 10.0
    assert [running.task_id for running in tracking.claim()] == [task_id(3)]
    assert [tracking.state(number) for number in (1, 2)] == [State.CANCELLED] * 2
    assert sum(change.change for change in tracking.ready_changes) == 0


@pytest.mark.parametrize(
    "kind", [OutcomeKind.RELEASED, OutcomeKind.SNOOZED, OutcomeKind.LOST, OutcomeKind.FAILED]
)
def test_what_has_begun_never_expires(tracking: Tracking, kind: OutcomeKind) -> None:
    tracking.submit(1, expires_at=NOW + 10.0)
    [running] = tracking.claim()
    tracking.settle(running, kind, retryable=True)
    tracking.now += 10.0
    done = tracking.tick(expire=True)
    assert (done.changes, done.next_expiry) == ([], None)
    tracking.tick(promote=True)
    assert len(tracking.claim()) == 1


def test_a_person_can_retry_it(tracking: Tracking) -> None:
    tracking.submit(1, expires_at=NOW + 10.0)
    tracking.now += 10.0
    tracking.tick(expire=True)
    tracking.tick(retries=[task_id(1)])
    assert (tracking.task(1).expires_at, tracking.task(1).cancel_reason) == (None, None)
    assert tracking.tick(expire=True).changes == []
    assert len(tracking.claim()) == 1


def test_a_tick_lets_a_bounded_number_expire(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "MAX_EXPIRED", 2)
    tracking.submit(1, 2, 3, expires_at=NOW + 10.0)
    tracking.now += 10.0
    assert tracking.tick(expire=True).next_expiry == NOW + 10.0
    assert [tracking.state(number) for number in (1, 2, 3)].count(State.PENDING) == 1
    assert tracking.tick(expire=True).next_expiry is None
