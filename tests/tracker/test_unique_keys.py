"""Unique keys: at most one open task has a key, whatever happens to it."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from raytasks.handling.submission import batch_key
from raytasks.model.acts import ActionName
from raytasks.model.bulk_operations import BulkAction, NewBulk
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_events import EventQuery, StateEntry
from raytasks.model.tasks import Duplicate, NewTask
from raytasks.model.uniqueness import OnConflict, Unique, UniqueUntil, encode_unique
from raytasks.protocol.queries import BulkById, TaskEvents
from raytasks.store.idempotency import TakenKeys
from raytasks.store.schema import task_tags, unique_keys
from raytasks.store.service_tables import files_to_remove
from raytasks.store.store import Store
from raytasks.store.unique_rows import KeyName
from raytasks.tracker.bulk_turns import make, run_step
from raytasks.tracker.unique_keys import decide
from tests.making import NOW, Tracking, bulk_filter, new_task, task_id


@pytest.fixture
def tracking(store_url: str, open_store: Callable[..., Store]) -> Tracking:
    return Tracking(open_store(store_url))


def keyed(number: int, key: str = "k", **changes: Any) -> NewTask:
    """Return a submission with a unique key."""
    terms = {
        name: changes.pop(name) for name in ("until", "seconds", "on_conflict") if name in changes
    }
    return new_task(number, unique_spec=encode_unique(Unique(key, **terms)), **changes)


def held(tracking: Tracking) -> dict[str, str]:
    """Return the ids of the holders by key."""
    with tracking.store._database.reading() as connection:
        rows = connection.execute(select(unique_keys.c.unique_key, unique_keys.c.task_id))
        return {row.unique_key: row.task_id for row in rows}


def answer(tracking: Tracking, new: NewTask) -> Duplicate | None:
    """Submit a task; return why it was not stored, or None."""
    return tracking.tick(submissions=[new]).duplicates.get(new.task_id)


class TestTheHolder:
    def test_a_submission_is_answered_with_the_holder_of_its_key(self, tracking: Tracking) -> None:
        assert answer(tracking, keyed(1)) is None
        assert answer(tracking, keyed(2)) == Duplicate(task_id(1), True, OnConflict.RETURN)
        assert held(tracking) == {"k": task_id(1)}

    def test_a_submission_can_be_refused(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1)])
        found = answer(tracking, keyed(2, on_conflict=OnConflict.REJECT))
        assert found == Duplicate(task_id(1), same=False, unique=OnConflict.REJECT)

    def test_a_key_counts_within_its_namespace_and_type(self, tracking: Tracking) -> None:
        others = [keyed(2, namespace="other"), keyed(3, task_type="long"), keyed(4, key="l")]
        assert tracking.tick(submissions=[keyed(1), *others]).duplicates == {}

    def test_of_one_tick_the_first_one_holds_the_key(self, tracking: Tracking) -> None:
        done = tracking.tick(submissions=[keyed(1), keyed(2), new_task(3)])
        assert done.duplicates == {task_id(2): Duplicate(task_id(1), True, OnConflict.RETURN)}
        assert tracking.state(3) is State.PENDING

    def test_the_same_call_that_comes_twice_conflicts_not_with_itself(
        self, tracking: Tracking
    ) -> None:
        tracking.tick(submissions=[keyed(1)])
        again = tracking.tick(submissions=[keyed(1, on_conflict=OnConflict.REJECT)])
        assert (again.duplicates, again.duplicates.at) == ({}, None)

    def test_a_repeated_request_gets_the_answer_of_the_first_one(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1)])
        same = {"idempotency_key": "i", "request_digest": "d"}
        done = tracking.tick(submissions=[keyed(2, **same), keyed(3, **same)])
        found = Duplicate(task_id(1), same=True, unique=OnConflict.RETURN)
        assert done.duplicates == {task_id(2): found, task_id(3): found}

    @pytest.mark.parametrize(
        "kind", [OutcomeKind.SUCCEEDED, OutcomeKind.FAILED, OutcomeKind.CANCELLED]
    )
    def test_the_end_of_an_attempt_gives_the_key_free(
        self, tracking: Tracking, kind: OutcomeKind
    ) -> None:
        tracking.tick(submissions=[keyed(1)])
        [running] = tracking.claim()
        assert answer(tracking, keyed(2)) is not None
        tracking.settle(running, kind, retryable=False)
        assert held(tracking) == {}
        assert answer(tracking, keyed(3)) is None

    @pytest.mark.parametrize(
        "kind", [OutcomeKind.SNOOZED, OutcomeKind.RELEASED, OutcomeKind.LOST, OutcomeKind.FAILED]
    )
    def test_a_task_that_runs_again_keeps_its_key(
        self, tracking: Tracking, kind: OutcomeKind
    ) -> None:
        tracking.tick(submissions=[keyed(1)])
        [running] = tracking.claim()
        tracking.settle(running, kind, retryable=True, delay_seconds=60.0)
        assert held(tracking) == {"k": task_id(1)}

    def test_a_restarted_tracker_knows_that_the_running_task_has_a_key(
        self, tracking: Tracking
    ) -> None:
        tracking.tick(submissions=[keyed(1), new_task(2)])
        tracking.claim()
        known = {item.task_id: item for item in tracking.store.running()}
        assert [known[task_id(number)].keyed for number in (1, 2)] == [True, False]
        tracking.settle(known[task_id(1)], OutcomeKind.SUCCEEDED)
        assert held(tracking) == {}

    def test_a_poisoned_task_gives_its_key_free(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1)])
        for _ in range(tracking.max_crashes + 1):
            [running] = tracking.claim()
            tracking.settle(running, OutcomeKind.LOST, charged=True)
        assert tracking.state(1) is State.FAILED
        assert held(tracking) == {}

    def test_the_first_claim_gives_the_key_free_if_it_is_held_until_then(
        self, tracking: Tracking
    ) -> None:
        tracking.tick(submissions=[keyed(1, until=UniqueUntil.STARTED), keyed(2, key="l")])
        [first, _] = tracking.claim()
        assert held(tracking) == {"l": task_id(2)}
        assert answer(tracking, keyed(3)) is None
        tracking.settle(first, OutcomeKind.RELEASED)  # takes nothing back
        tracking.settle(tracking.claim(capacity=1)[0], OutcomeKind.SUCCEEDED)
        assert held(tracking)["k"] == task_id(3)

    def test_a_cancel_gives_the_key_free(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1), keyed(2, key="l")])
        tracking.tick(cancels=[task_id(1)])
        assert held(tracking) == {"l": task_id(2)}

    def test_a_bulk_cancel_gives_the_keys_free(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1), keyed(2, key="l")])
        bulk(tracking, "cancel")
        assert held(tracking) == {}

    def test_a_key_is_free_when_its_seconds_have_passed(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1, seconds=10.0)])
        [running] = tracking.claim()
        tracking.now += 9.0
        assert answer(tracking, keyed(2)) is not None
        tracking.now += 1.0
        assert answer(tracking, keyed(3)) is None
        tracking.settle(running, OutcomeKind.SUCCEEDED)  # the key is another's now
        assert held(tracking) == {"k": task_id(3)}


class TestTheSameRequestAgain:
    def test_has_the_same_answer_after_the_holder_has_ended(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1)])
        same = {"idempotency_key": "i", "request_digest": "d"}
        found = Duplicate(task_id(1), same=True, unique=OnConflict.RETURN)
        assert answer(tracking, keyed(2, **same)) == found
        tracking.settle(tracking.claim()[0], OutcomeKind.SUCCEEDED)
        assert answer(tracking, keyed(3, **same)) == found
        other = answer(tracking, keyed(4, **same | {"request_digest": "other"}))
        assert other == Duplicate(task_id(1), same=False)

    def test_replaces_nothing_a_second_time(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1)])
        same = {
            "idempotency_key": "i",
            "request_digest": "d",
            "on_conflict": OnConflict.REPLACE,
            "payload": "2",
        }
        first = answer(tracking, keyed(2, **same))
        answer(tracking, keyed(3, payload="3", on_conflict=OnConflict.REPLACE))
        tracking.claim()
        assert answer(tracking, keyed(4, **same)) == first
        assert tracking.task(1).payload == "3"

    def test_is_a_batch_with_the_same_tasks(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1)])

        def batch(first: int) -> list[NewTask]:
            mine: dict[str, Any] = {"batch": str(first), "request_digest": "d"}
            keys = [batch_key("i", place) for place in range(2)]
            return [
                new_task(first, idempotency_key=keys[0], **mine),
                keyed(first + 1, idempotency_key=keys[1], **mine),
            ]

        once = tracking.tick(submissions=batch(2)).duplicates
        assert {found.task_id for found in once.values()} == {task_id(1)}
        again = tracking.tick(submissions=batch(4)).duplicates
        assert [again[task_id(number)].task_id for number in (4, 5)] == [task_id(2), task_id(1)]
        assert all(found.same for found in again.values())

    @pytest.mark.parametrize("policy", [OnConflict.RETURN, OnConflict.REPLACE])
    def test_two_copies_in_one_tick_count_once(
        self, tracking: Tracking, policy: OnConflict
    ) -> None:
        tracking.tick(submissions=[keyed(1, run_at=NOW + 9.0)])
        again = keyed(
            2, on_conflict=policy, idempotency_key="i", request_digest="d", run_at=NOW + 9.0
        )
        done = tracking.tick(submissions=[again, again])
        told = Duplicate(task_id(1), same=True, unique=policy)
        assert done.duplicates == {task_id(2): told}
        assert tracking.task(1).revision == (policy is OnConflict.REPLACE)
        assert answer(tracking, again) == told

    def test_is_forgotten_with_the_task_that_answered_it(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1)])
        same = {"idempotency_key": "i", "request_digest": "d"}
        answer(tracking, keyed(2, **same))
        tracking.settle(tracking.claim()[0], OutcomeKind.SUCCEEDED)
        tracking.tick(prunings=[([task_id(1)], NOW + 1.0)])
        assert answer(tracking, keyed(3, **same)) is None


class TestABatch:
    def test_is_refused_as_a_whole(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1), keyed(9, key="r")])
        mine = {"batch": "b"}
        new = [
            new_task(2, **mine),
            keyed(3, on_conflict=OnConflict.REJECT, **mine),
            keyed(4, key="r", on_conflict=OnConflict.REPLACE, priority=5, **mine),
            keyed(5, key="new", **mine),
        ]
        done = tracking.tick(submissions=[*new, keyed(6, key="new")])
        nothing = Duplicate("", same=False, unique=OnConflict.REJECT)
        assert done.duplicates == {
            task_id(2): nothing,
            task_id(3): Duplicate(task_id(1), same=False, unique=OnConflict.REJECT),
            task_id(4): nothing,
            task_id(5): nothing,
        }
        assert tracking.task(9).priority == 0
        assert held(tracking)["new"] == task_id(6)  # the refused one took nothing

    def test_has_the_holder_at_the_place_of_a_duplicate(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1)])
        new = [new_task(2, batch="b"), keyed(3, batch="b"), keyed(4, key="l", batch="b")]
        done = tracking.tick(submissions=[*new, keyed(5, key="l", batch="c")])
        assert {name: found.task_id for name, found in done.duplicates.items()} == {
            task_id(3): task_id(1),
            task_id(5): task_id(4),
        }

    def test_conflicts_with_itself(self) -> None:
        new = [keyed(1, batch="b"), keyed(2, on_conflict=OnConflict.REJECT, batch="b")]
        done = decide(new, TakenKeys(), {}, lambda _: False, NOW)
        assert done.new == []
        assert done.duplicates[task_id(2)].task_id == task_id(1)
        assert done.keys == {}

    def test_gives_its_keys_to_the_next_one(self) -> None:
        new = [keyed(1, batch="b"), keyed(2, batch="c"), keyed(3)]
        done = decide(new, TakenKeys(), {}, lambda _: False, NOW)
        assert [row.task_id for row in done.keys.values()] == [task_id(1)]
        assert set(done.keys) == {KeyName("default", "short", "k")}


class TestReplace:
    def replaced(self, tracking: Tracking, **changes: Any) -> Duplicate | None:
        return answer(tracking, keyed(2, on_conflict=OnConflict.REPLACE, **changes))

    def test_gives_a_waiting_task_all_that_the_submission_says(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1, tags='["a","b"]', payload_ref='{"name":".p"}')])
        found = self.replaced(
            tracking, payload='{"n":2}', priority=3, tags='["b","c"]', run_at=NOW + 60.0,
            max_attempts=7, timeout_seconds=5.0, lane="other", limit_values='{"l":1}',
            seconds=90.0, expires_at=NOW + 100.0,
        )  # fmt: skip
        assert found == Duplicate(task_id(1), same=True, unique=OnConflict.REPLACE)
        task = tracking.task(1)
        assert (task.payload, task.priority, task.tags) == ('{"n":2}', 3, '["b","c"]')
        assert (task.run_at, task.max_attempts, task.timeout_seconds) == (NOW + 60.0, 7, 5.0)
        assert (task.revision, task.state, task.limit_values) == (1, State.PENDING, '{"l":1}')
        assert (task.payload_ref, task.expires_at, task.created_at) == (None, NOW + 100.0, NOW)
        with tracking.store._database.reading() as connection:
            tags = connection.execute(select(task_tags.c.tag).order_by(task_tags.c.tag)).scalars()
            assert list(tags) == ["b", "c"]
            [file] = connection.execute(select(files_to_remove)).all()
            assert (file.task_id, file.name) == (task_id(1), ".p")
        assert tracking.claim() == []  # it is not due yet
        assert [(change.lane, change.change) for change in tracking.ready_changes] == [
            ("", 1),
            ("", -1),
        ]

    def test_a_replaced_task_runs_with_the_new_payload(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1, run_at=NOW + 60.0)])
        self.replaced(tracking, payload='{"n":2}')
        assert [running.task_id for running in tracking.claim()] == [task_id(1)]
        assert tracking.task(1).payload == '{"n":2}'

    def test_the_last_of_one_tick_wins(self, tracking: Tracking) -> None:
        new = [
            keyed(number, payload=str(number), on_conflict=OnConflict.REPLACE)
            for number in (1, 2, 3)
        ]
        done = tracking.tick(submissions=new)
        assert {found.task_id for found in done.duplicates.values()} == {task_id(1)}
        assert (tracking.task(1).payload, tracking.task(1).revision) == ("3", 2)
        assert [change.revision for change in done.changes] == [0, 1, 2]

    def test_what_has_begun_is_not_replaced(self, tracking: Tracking) -> None:
        tracking.tick(submissions=[keyed(1)])
        [running] = tracking.claim()
        refused = Duplicate(task_id(1), same=False, unique=OnConflict.REPLACE)
        assert self.replaced(tracking) == refused
        tracking.settle(running, OutcomeKind.FAILED, retryable=True, delay_seconds=60.0)
        assert self.replaced(tracking) == refused
        assert tracking.task(1).state is State.RETRYING


def bulk(tracking: Tracking, action: str) -> str:
    """Do a whole bulk operation, and return its id."""
    bulk_id = "0198ffff-0000-7000-8000-000000000001"
    make(tracking.store, tracking.epoch, tracking.now, NewBulk(bulk_id, bulk_filter(action), NOW))
    while run_step(tracking.store, tracking.epoch, tracking.now, "") is not None:
        pass
    return bulk_id


class TestRetry:
    def failed(self, tracking: Tracking, *new: NewTask) -> None:
        tracking.tick(submissions=new)
        for running in tracking.claim():
            tracking.settle(running, OutcomeKind.FAILED, retryable=False)

    def test_takes_the_key_again(self, tracking: Tracking) -> None:
        self.failed(tracking, keyed(1, seconds=10.0))
        tracking.now += 60.0
        assert tracking.tick(retries=[task_id(1)]).acted.refused == {}
        assert held(tracking) == {"k": task_id(1)}
        assert answer(tracking, keyed(2)) is not None

    def test_is_refused_while_another_holds_the_key(self, tracking: Tracking) -> None:
        self.failed(tracking, keyed(1))
        tracking.tick(submissions=[keyed(2)])
        done = tracking.tick(retries=[task_id(1)])
        assert done.acted.refused == {task_id(1): task_id(2)}
        assert (done.acted.audit, done.changes) == ([], [])
        assert tracking.state(1) is State.FAILED

    def test_of_two_with_the_same_key_the_first_one_takes_it(self, tracking: Tracking) -> None:
        self.failed(tracking, keyed(1))
        self.failed(tracking, keyed(2))
        done = tracking.tick(retries=[task_id(2), task_id(1)])
        assert done.acted.refused == {task_id(1): task_id(2)}

    def test_of_many_skips_and_counts_those_whose_key_is_held(self, tracking: Tracking) -> None:
        self.failed(tracking, keyed(1), keyed(2, key="l"), new_task(3))
        self.failed(tracking, keyed(4, key="l"))
        tracking.tick(submissions=[keyed(5)])
        found = tracking.store.read(BulkById(bulk(tracking, BulkAction.RETRY), "default"))
        assert found is not None
        assert (found.changed, found.skipped) == (2, 2)
        states = [tracking.state(number) for number in (1, 2, 3, 4)]
        assert states == [State.FAILED, State.FAILED, State.PENDING, State.PENDING]
        assert held(tracking) == {"k": task_id(5), "l": task_id(4)}


def test_the_events_of_a_replaced_task_are_whole(tracking: Tracking) -> None:
    tracking.tick(submissions=[keyed(1)])
    answer(tracking, keyed(2, on_conflict=OnConflict.REPLACE))
    tracking.settle(tracking.claim()[0], OutcomeKind.SUCCEEDED)
    [page] = tracking.store.read(TaskEvents([EventQuery(task_id(1))]))
    assert page is not None
    assert [
        (event.revision, event.state, event.action)
        for event in page.events
        if isinstance(event, StateEntry)
    ] == [
        (0, State.PENDING, None),
        (1, State.PENDING, ActionName.REPLACE),
        (2, State.RUNNING, None),
        (3, State.COMPLETED, None),
    ]
