"""Acts of people: the acts on tasks, and the audit, in the transaction of the change."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import json

from raytasks.model.acts import ActionName, NewAudit
from raytasks.model.bulk_operations import NewBulk
from raytasks.model.changes import TaskChanges
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_events import EventQuery, StateEntry
from raytasks.model.tasks import RaytasksError, RevisionConflict, StateConflict
from raytasks.protocol.queries import AuditList, TaskActs, TaskEvents
from raytasks.store import act_rows
from raytasks.store.store import Store
from raytasks.store.version_rows import VersionState
from raytasks.tracker.acting import Target
from raytasks.tracker.bulk_turns import make, run_step
from raytasks.tracker.tick import TickInput, run_tick
from tests.making import NOW, Tracking, bulk_filter, task_id


@pytest.fixture
def tracking(store_url: str, open_store: Callable[..., Store]) -> Tracking:
    """A store of either database."""
    return Tracking(open_store(store_url))


def acts(tracking: Tracking, number: int) -> list[tuple[str, str, int, float]]:
    found = tracking.store.read(TaskActs(task_id(number)))
    return [(act.action, act.by, act.revision, act.at) for act in found]


def audit(tracking: Tracking, **query: object) -> list[tuple[str, str, str | None]]:
    found = tracking.store.read(AuditList(**query))  # type: ignore[arg-type]
    return [(item.action, item.by, item.target) for item in found.entries]


def states(tracking: Tracking, number: int) -> list[tuple[State, str | None, str | None]]:
    [page] = tracking.store.read(TaskEvents([EventQuery(task_id(number))]))
    assert page is not None
    return [
        (item.state, item.by, item.action) for item in page.events if isinstance(item, StateEntry)
    ]


def test_a_cancel_and_a_retry_are_in_the_history_of_their_task(tracking: Tracking) -> None:
    tracking.submit(1)
    tracking.now += 1
    tracking.tick(cancels=[task_id(1)], by="anna")
    task = tracking.task(1)
    assert json.decode(task.cancel_reason or "") == {
        "code": "requested",
        "message": None,
        "by": "anna",
    }
    assert task.has_acts
    tracking.now += 1
    tracking.tick(retries=[task_id(1)], by="ben")
    assert tracking.task(1).cancel_reason is None
    assert acts(tracking, 1) == [
        ("cancel", "anna", 0, NOW + 1),
        ("retry", "ben", 1, NOW + 2),
    ]
    assert audit(tracking) == [("retry", "ben", task_id(1)), ("cancel", "anna", task_id(1))]
    assert states(tracking, 1) == [
        (State.PENDING, None, None),
        (State.CANCELLED, "anna", "cancel"),
        (State.PENDING, "ben", "retry"),
    ]


def test_the_end_of_a_running_attempt_after_a_cancel_names_who_asked_for_it(
    tracking: Tracking,
) -> None:
    tracking.submit(1, 2)
    first, second = tracking.claim()
    done = tracking.tick(cancels=[task_id(1), task_id(2)], by="anna")
    assert done.changes == []
    assert [running.cancelled_by for running in tracking.store.running()] == ["anna", "anna"]
    first, second = sorted(tracking.store.running(), key=lambda running: running.task_id)
    done = tracking.settle(first, OutcomeKind.CANCELLED)
    assert [(item.by, item.action) for item in done.changes] == [("anna", "cancel")]
    assert states(tracking, 1)[-1] == (State.CANCELLED, "anna", "cancel")
    done = tracking.settle(second, OutcomeKind.SUCCEEDED)  # it has finished first
    assert [(item.by, item.action) for item in done.changes] == [(None, None)]
    assert states(tracking, 2)[-1] == (State.COMPLETED, None, None)
    assert acts(tracking, 2) == [("cancel", "anna", 1, NOW)]


def test_what_changes_nothing_is_not_written_down(tracking: Tracking) -> None:
    tracking.submit(1, 2)
    tracking.claim(short=1)
    for by in ("anna", "ben"):
        tracking.tick(cancels=[task_id(1), task_id(2), task_id(9)], by=by)
    tracking.tick(retries=[task_id(1)], by="carl")
    assert {by for _, by, _ in audit(tracking)} == {"anna"}
    assert len(audit(tracking)) == 2
    assert [item[1] for item in acts(tracking, 1)] == ["anna"]
    assert "anna" in (tracking.task(1).cancel_reason or "")


def test_of_two_people_in_one_tick_the_first_did_it(tracking: Tracking) -> None:
    tracking.submit(1)
    work = [Target(task_id(1), by="anna", message="not needed"), Target(task_id(1), by="ben")]
    run_tick(tracking.store, TickInput(NOW, tracking.epoch, 1, cancels=work))
    assert audit(tracking) == [("cancel", "anna", task_id(1))]
    assert "not needed" in (tracking.task(1).cancel_reason or "")


class TestRetriesOfARevision:
    """A call may come twice, also long after the first: nobody knows whether that arrived."""

    def again(self, tracking: Tracking, by: str = "anna", **values: Any) -> RaytasksError | None:
        """Retry the first task as it was when it was cancelled; return the conflict."""
        changes = TaskChanges(**values) if values else None
        target = Target(task_id(1), by=by, changes=changes, revision=1)
        [conflict] = tracking.tick(retries=[target]).acted.conflicts
        return conflict

    @pytest.mark.parametrize("values", [{}, {"payload": "1", "priority": 3}], ids=["plain", "new"])
    def test_it_is_retried_once(self, tracking: Tracking, values: dict[str, Any]) -> None:
        tracking.submit(1, max_attempts=1)
        tracking.tick(cancels=[task_id(1)])
        for _ in range(2):
            assert self.again(tracking, **values) is None
            assert (tracking.state(1), tracking.task(1).revision) == (State.PENDING, 2)
        [running] = tracking.claim()
        assert self.again(tracking, **values) is None
        tracking.settle(running, OutcomeKind.FAILED)
        assert self.again(tracking, **values) is None
        assert (tracking.state(1), tracking.task(1).revision) == (State.FAILED, 4)
        assert acts(tracking, 1)[1:] == [("retry", "anna", 1, NOW)]
        told = sorted(item[:2] for item in audit(tracking))
        assert told == [("cancel", "ops"), ("retry", "anna")]

    def test_that_of_another_person_or_with_other_values_is_in_conflict(
        self, tracking: Tracking
    ) -> None:
        tracking.submit(1, max_attempts=1)
        tracking.tick(cancels=[task_id(1)])
        assert self.again(tracking, payload="1") is None
        assert isinstance(self.again(tracking, payload="2"), StateConflict)
        assert isinstance(self.again(tracking, "ben", payload="1"), StateConflict)
        [running] = tracking.claim()
        tracking.settle(running, OutcomeKind.FAILED)
        assert isinstance(self.again(tracking, payload="2"), RevisionConflict)
        assert isinstance(self.again(tracking, "ben", payload="1"), RevisionConflict)
        assert (tracking.state(1), tracking.task(1).payload) == (State.FAILED, "1")

    def test_of_a_revision_that_had_another_act_it_is_in_conflict(self, tracking: Tracking) -> None:
        tracking.submit(1)
        tracking.tick(cancels=[task_id(1)], by="anna")
        target = Target(task_id(1), by="anna", revision=0)
        [conflict] = tracking.tick(retries=[target]).acted.conflicts
        assert isinstance(conflict, RevisionConflict)
        assert tracking.state(1) is State.CANCELLED


def test_of_a_cancel_and_a_retry_in_one_tick_only_what_changed_something_is_told(
    tracking: Tracking,
) -> None:
    tracking.submit(1, 2)
    tracking.tick(cancels=[task_id(1)], by="anna")
    both = [task_id(1), task_id(2)]
    done = tracking.tick(cancels=both, retries=both, by="ben")
    assert [(item.task_id, item.state, item.action) for item in done.changes] == [
        (task_id(2), State.CANCELLED, "cancel"),
        (task_id(1), State.PENDING, "retry"),
    ]
    assert sorted(audit(tracking)) == [
        ("cancel", "anna", task_id(1)),
        ("cancel", "ben", task_id(2)),
        ("retry", "ben", task_id(1)),
    ]


def test_a_tick_that_fails_leaves_no_act(tracking: Tracking) -> None:
    tracking.submit(1)
    with pytest.raises(Exception, match="epoch"):
        run_tick(tracking.store, TickInput(NOW, 99, 1, cancels=[Target(task_id(1))]))
    assert audit(tracking) == []
    assert acts(tracking, 1) == []


def test_a_bulk_operation_is_one_act_and_names_itself_at_each_of_its_tasks(
    tracking: Tracking,
) -> None:
    tracking.submit(1, 2, 3)
    tracking.tick(cancels=[task_id(3)], by="ben")
    bulk_id = "0198ffff-0000-7000-8000-000000000001"
    new = NewBulk(bulk_id, bulk_filter("cancel"), NOW, by="anna")
    for _ in range(2):  # a repeated request makes none
        operation, _, _ = make(tracking.store, tracking.epoch, NOW, new)
        assert operation.by == "anna"
    step = run_step(tracking.store, tracking.epoch, NOW, "")
    assert step is not None
    assert {(item.by, item.action) for item in step.changes} == {("anna", "cancel")}
    assert audit(tracking, by="anna") == [("bulk_cancel", "anna", bulk_id)]
    for number, ours in ((1, bulk_id), (2, bulk_id), (3, None)):
        [act] = tracking.store.read(TaskActs(task_id(number)))
        assert act.bulk_id == ours
    assert states(tracking, 1)[-1] == (State.CANCELLED, "anna", "cancel")


def test_the_audit_is_read_in_pages_by_filters(tracking: Tracking) -> None:
    for number in range(6):
        tracking.submit(number, namespace=("a", "b")[number % 2])
        tracking.now += 1
        tracking.tick(cancels=[task_id(number)], by=("anna", "ben")[number // 3])
    pages, cursor = [], None
    while True:
        page = tracking.store.read(AuditList(limit=4, cursor=cursor))
        pages.append([item.target for item in page.entries])
        cursor = page.next_cursor
        if cursor is None:
            break
    newest = [task_id(number) for number in reversed(range(6))]
    assert pages == [newest[:4], newest[4:]]
    assert len(audit(tracking, by="ben")) == 3
    assert len(audit(tracking, namespace="b")) == 3
    assert len(audit(tracking, since=NOW + 5)) == 2
    assert audit(tracking, action="retry") == []


def test_acts_are_pruned_with_their_task_and_the_audit_by_its_age(tracking: Tracking) -> None:
    tracking.submit(1)
    tracking.tick(cancels=[task_id(1)])
    tracking.now += 10
    tracking.tick(prunings=[([task_id(1)], tracking.now)])
    assert acts(tracking, 1) == []
    assert len(audit(tracking)) == 1
    store = tracking.store
    with store.transaction(now=NOW + 20) as transaction:
        act = NewAudit("anna", ActionName.PAUSE)
        act_rows.write_audit(transaction.connection, [act] * 3, NOW + 20)
        transaction.finish()
    for before, limit, forgotten in ((NOW + 20, 500, 1), (NOW + 21, 2, 2)):
        with store.transaction(now=NOW) as transaction:
            assert act_rows.forget(transaction.connection, before, limit) == forgotten
    assert len(audit(tracking)) == 1


def test_a_deployment_is_written_down_with_its_verdict_once(tracking: Tracking) -> None:
    store, epoch = tracking.store, tracking.epoch
    for token, state, detail in (
        ("one", VersionState.PASSED, None),
        ("two", VersionState.FAILED, "no handler"),
        ("two", VersionState.PASSED, None),  # the first verdict stays
    ):
        store.number_version(epoch, token, "g", {}, NOW)
        store.judge_version(epoch, token, state, detail, "anna@here", NOW)
    found = store.read(AuditList()).entries
    assert {(item.action, item.by, item.target) for item in found} == {
        ("deploy", "anna@here", "1"),
        ("deploy", "anna@here", "2"),
    }
    details = {item.target: json.decode(item.details or "{}") for item in found}
    assert details["1"] == {"state": "passed", "generation": "g", "error": None}
    assert details["2"] == {"state": "failed", "generation": "g", "error": "no handler"}
