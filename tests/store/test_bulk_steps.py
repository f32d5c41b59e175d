"""Bulk operations in the store, step by step."""

from typing import Any

import pytest

from raytasks.model.bulk_operations import BulkOperation, NewBulk
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import BacklogFull, KeyConflict
from raytasks.protocol.queries import BulkById, BulkList, TasksById
from raytasks.store import bulk_steps as store_bulk
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from raytasks.tracker import bulk_turns as bulk
from raytasks.tracker.bulk_turns import StepResult, run_step
from tests.making import NOW, Tracking, bulk_filter, counted, ids, new_task, task_id

TAGS = '["nightly"]'


def bulk_id(number: int) -> str:
    """Return the id of an operation that is newer than all tasks of `making`."""
    return f"0198ffff-0000-7000-8000-{number:012x}"


@pytest.fixture
def tracking(store: Store) -> Tracking:
    return Tracking(store)


def begin(
    tracking: Tracking,
    action: str = "retry",
    *,
    number: int = 1,
    key: str | None = None,
    **asked: Any,
) -> BulkOperation:
    meant = bulk_filter(action, **asked)
    new = NewBulk(bulk_id(number), meant, tracking.now, key)
    return bulk.make(tracking.store, tracking.epoch, tracking.now, new)[0]


def step(tracking: Tracking, last: str = "") -> StepResult | None:
    return run_step(tracking.store, tracking.epoch, tracking.now, last)


def finish(tracking: Tracking, number: int = 1, namespace: str = "default") -> BulkOperation:
    """Do steps until all operations are done; return one of them."""
    while step(tracking) is not None:
        pass
    found = tracking.store.read(BulkById(bulk_id(number), namespace))
    assert found is not None
    return found


def fail(tracking: Tracking, *numbers: int, **changes: Any) -> None:
    """Submit tasks that have failed."""
    tracking.submit(*numbers, **{"task_type": "short", **changes})
    claimed = tracking.claim(short=1000, long=1000)
    assert [running.task_id for running in claimed] == ids(numbers)
    for running in claimed:
        tracking.settle(running, OutcomeKind.FAILED)


def states(tracking: Tracking, *numbers: int) -> list[State]:
    return [tracking.state(number) for number in numbers]


def exact(tracking: Tracking) -> bool:
    """Return whether the counts are those of the tasks."""
    found: dict[tuple[str, State], int] = {}
    for task in tracking.store.read(TasksById(ids(range(100)))).values():
        place = task.task_type, task.state
        found[place] = found.get(place, 0) + 1
    return counted(tracking.store.counts()) == found


class TestRetry:
    def test_failed_tasks_wait_again_with_a_fresh_budget(self, tracking: Tracking) -> None:
        fail(tracking, 1, 2)
        tracking.submit(3)
        tracking.now += 60
        made = begin(tracking, state=State.FAILED)
        assert (made.matched, made.looked_at, made.changed, made.finished_at) == (2, 0, 0, None)
        done = finish(tracking)
        assert (done.matched, done.looked_at, done.changed) == (2, 2, 2)
        assert done.finished_at == tracking.now
        for task in (tracking.task(1), tracking.task(2)):
            assert (task.state, task.failures, task.error) == (State.PENDING, 0, None)
            assert (task.revision, task.run_at, task.finished_at) == (3, tracking.now, None)
        assert tracking.task(3).revision == 0
        assert exact(tracking)
        assert len(tracking.claim()) == 3

    def test_the_filters(self, tracking: Tracking) -> None:
        fail(tracking, 1)
        fail(tracking, 2, task_type="long")
        fail(tracking, 3, tags=TAGS)
        fail(tracking, 4, tags=TAGS, task_type="long")
        tracking.submit(5, tags=TAGS)
        tracking.tick(cancels=[task_id(5)])
        cases: list[tuple[dict[str, Any], list[int]]] = [
            ({"state": State.FAILED}, [1, 2, 3, 4]),
            ({"state": State.CANCELLED}, [5]),
            ({"state": None}, [1, 2, 3, 4, 5]),
            ({"state": State.FAILED, "task_type": "long"}, [2, 4]),
            ({"task_type": "short"}, [1, 3, 5]),
            ({"tag": "nightly"}, [3, 4, 5]),
            ({"tag": "nightly", "state": State.FAILED}, [3, 4]),
            ({"tag": "nightly", "state": State.FAILED, "task_type": "long"}, [4]),
            ({"tag": "nobody"}, []),
            ({"namespace": "other"}, []),
        ]
        for number, (asked, matches) in enumerate(cases):
            made = begin(tracking, number=number, **asked)
            assert made.matched == len(matches), asked
            done = finish(tracking, number, asked.get("namespace", "default"))
            assert done.changed == len(matches), asked
            waiting = [n for n in range(1, 6) if tracking.state(n) is State.PENDING]
            assert waiting == matches, asked
            assert exact(tracking)
            # And back to how it was.
            if 5 in matches:
                tracking.tick(cancels=[task_id(5)])
            for running in tracking.claim(short=1000, long=1000):
                tracking.settle(running, OutcomeKind.FAILED)

    def test_steps_are_small_and_go_from_the_newest_to_the_oldest(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "STEP", 2)
        fail(tracking, *range(1, 5))
        begin(tracking)
        found = []
        while (done := step(tracking)) is not None:
            found.append([(change.task_id, change.revision) for change in done.changes])
            assert exact(tracking)
        assert found == [
            [(task_id(4), 3), (task_id(3), 3)],
            [(task_id(2), 3), (task_id(1), 3)],
            [],
        ]

    @pytest.mark.parametrize("asked", [{}, {"tag": "nightly"}, {"state": State.FAILED}])
    def test_nothing_is_retried_twice_though_it_fails_again_meanwhile(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
    ) -> None:
        monkeypatch.setattr(bulk, "STEP", 2)
        fail(tracking, *range(1, 6), tags=TAGS)
        begin(tracking, **asked)
        while step(tracking) is not None:
            for running in tracking.claim():
                tracking.settle(running, OutcomeKind.FAILED)
        done = tracking.store.read(BulkById(bulk_id(1), "default"))
        assert done is not None
        assert (done.looked_at, done.changed) == (5, 5)
        assert states(tracking, *range(1, 6)) == [State.FAILED] * 5
        assert {tracking.task(number).revision for number in range(1, 6)} == {5}

    def test_what_was_made_after_it_is_not_touched(self, tracking: Tracking) -> None:
        fail(tracking, 1)
        begin(tracking)
        later = bulk_id(2)
        tracking.tick(submissions=[new_task(0, task_id=later)])
        [running] = tracking.claim()
        tracking.settle(running, OutcomeKind.FAILED)
        assert finish(tracking).changed == 1
        assert tracking.store.read(TasksById([later]))[later].state is State.FAILED

    def test_it_keeps_to_its_namespace(self, tracking: Tracking) -> None:
        fail(tracking, 1, tags=TAGS)
        fail(tracking, 2, namespace="other", tags=TAGS)
        for number, asked in enumerate([{}, {"tag": "nightly"}]):
            assert begin(tracking, number=number, namespace="other", **asked).matched == 1
            assert finish(tracking, number, "other").changed == 1
            assert states(tracking, 1, 2) == [State.FAILED, State.PENDING]
            [running] = tracking.claim()
            tracking.settle(running, OutcomeKind.FAILED)
        assert tracking.store.read(BulkById(bulk_id(1), "default")) is None
        assert tracking.store.read(BulkList("default")) == []
        assert [made.bulk_id for made in tracking.store.read(BulkList("other"))] == [
            bulk_id(1),
            bulk_id(0),
        ]


class TestCancel:
    def test_what_waits_ends_and_what_runs_is_marked(self, tracking: Tracking) -> None:
        tracking.submit(1, run_at=NOW + 60)
        tracking.submit(2, 3, 4)
        running, other = tracking.claim(capacity=2)
        tracking.settle(other, OutcomeKind.FAILED, retryable=True, delay_seconds=9.0)
        assert begin(tracking, "cancel").matched == 4
        done = step(tracking)
        assert done is not None
        assert done.marked == [running.task_id] == [task_id(2)]
        assert {(change.task_id, change.state) for change in done.changes} == {
            (name, State.CANCELLED) for name in ids([1, 3, 4])
        }
        assert finish(tracking).changed == 4
        assert states(tracking, 1, 2, 3, 4) == [
            State.CANCELLED,
            State.RUNNING,
            State.CANCELLED,
            State.CANCELLED,
        ]
        assert tracking.task(2).cancel_requested
        assert exact(tracking)
        # What was told to stop already is looked at, and not changed again.
        begin(tracking, "cancel", number=2)
        again = finish(tracking, 2)
        assert (again.looked_at, again.changed) == (1, 0)

    @pytest.mark.parametrize("state", [State.PENDING, State.RETRYING, State.RUNNING])
    def test_one_state_alone(self, tracking: Tracking, state: State) -> None:
        tracking.submit(1, 2, 3)
        _, other = tracking.claim(capacity=2)
        tracking.settle(other, OutcomeKind.FAILED, retryable=True)
        assert begin(tracking, "cancel", state=state).matched == 1
        assert finish(tracking).changed == 1
        touched = [tracking.task(number).cancel_requested for number in (1, 2, 3)]
        states = [State.RUNNING, State.RETRYING, State.PENDING]
        assert touched == [item is state for item in states]


class TestOperations:
    def test_they_take_turns(self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(bulk, "STEP", 1)
        fail(tracking, 1, 2)
        fail(tracking, 3, 4, task_type="long")
        begin(tracking, number=1, task_type="short")
        begin(tracking, number=2, task_type="long")
        order, last = [], ""
        while (done := step(tracking, last)) is not None:
            last = done.operation.bulk_id
            order.append(last)
        assert order == [bulk_id(1), bulk_id(2)] * 3

    def test_an_earlier_tracker_can_neither_make_one_nor_go_on(self, tracking: Tracking) -> None:
        fail(tracking, 1)
        begin(tracking)
        Tracking(tracking.store)
        with pytest.raises(Superseded):
            step(tracking)
        with pytest.raises(Superseded):
            begin(tracking, number=2)
        assert tracking.state(1) is State.FAILED
        assert [made.bulk_id for made in tracking.store.open_bulks()] == [bulk_id(1)]

    def test_the_next_tracker_goes_on_where_it_was(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(bulk, "STEP", 2)
        fail(tracking, *range(1, 6))
        begin(tracking)
        step(tracking)
        successor = Tracking(tracking.store)
        done = finish(successor)
        assert (done.looked_at, done.changed) == (5, 5)
        assert {tracking.task(number).revision for number in range(1, 6)} == {3}

    def test_one_that_is_sent_again_is_made_once(self, tracking: Tracking) -> None:
        assert begin(tracking) == begin(tracking)
        assert len(tracking.store.read(BulkList("default"))) == 1

    def test_keys(self, tracking: Tracking) -> None:
        first = begin(tracking, key="k")
        finish(tracking)
        again = begin(tracking, number=2, key="k")
        assert again.bulk_id == first.bulk_id
        assert again.finished_at is not None
        assert begin(tracking, number=3, key="k", namespace="other").bulk_id == bulk_id(3)
        with pytest.raises(KeyConflict, match=first.bulk_id):
            begin(tracking, number=4, key="k", tag="nightly")
        assert len(tracking.store.read(BulkList("default"))) == 1

    def test_too_many_are_refused(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_bulk, "MAX_OPEN", 2)
        begin(tracking, number=1)
        begin(tracking, number=2)
        with pytest.raises(BacklogFull, match="wait for one to end"):
            begin(tracking, number=3)
        finish(tracking)
        begin(tracking, number=3)

    def test_old_ones_are_forgotten(self, tracking: Tracking) -> None:
        begin(tracking, number=1)
        finish(tracking)
        begin(tracking, number=2)
        tracking.now += store_bulk.KEPT_SECONDS + 1
        begin(tracking, number=3)
        known = [made.bulk_id for made in tracking.store.read(BulkList("default"))]
        assert known == [bulk_id(3), bulk_id(2)]  # 2 is not done

    def test_of_a_tag_that_very_many_have_it_is_not_counted(
        self, tracking: Tracking, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(store_bulk, "MAX_COUNTED", 3)
        tracking.submit(1, 2, 3, tags=TAGS)
        tracking.submit(4)
        assert begin(tracking, "cancel", number=1, tag="nightly").matched == 3
        tracking.submit(5, tags=TAGS)
        assert begin(tracking, "cancel", number=2, tag="nightly").matched is None
        assert begin(tracking, "cancel", number=3).matched == 5

    def test_a_state_that_cannot_be_is_refused(self) -> None:
        with pytest.raises(ValueError, match="retry is not for RUNNING"):
            bulk_filter("retry", state=State.RUNNING)
