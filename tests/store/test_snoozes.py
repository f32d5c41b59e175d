"""A task that puts itself off for ever has a history with an end, and none of its events lie."""

from typing import Any

import pytest
from sqlalchemy import insert

from raytasks.api.views import ShownTask, task_json
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_events import EventQuery, LogEntry, LogLine, StateEntry
from raytasks.protocol.messages import AttemptLog
from raytasks.protocol.queries import TaskDetail, TaskEvents
from raytasks.store.read_statements import MAX_ATTEMPTS
from raytasks.store.schema import attempts
from raytasks.store.store import Store
from raytasks.store.task_reads import PostgresPoints, SqlitePoints
from raytasks.store.trimming import KEPT_SNOOZES
from raytasks.tracker.settling import MIN_SNOOZE_SECONDS
from tests.making import NOW, Tracking, new_task, task_id

ID = task_id(1)


def again(tracking: Tracking, kind: OutcomeKind, **changes: Any) -> int:
    """Run the task once more, with a log line, and return the number of the attempt."""
    tracking.now += 10
    tracking.tick(promote=True)
    [running] = tracking.claim()
    line = LogLine(1, tracking.now, "INFO", f"line of {running.attempt}")
    tracking.tick(logs=[AttemptLog(ID, running.attempt, 1, [line])])
    tracking.settle(running, kind, **changes)
    return running.attempt


def history(store: Store) -> list[int]:
    found = store.read(TaskDetail(ID))
    assert found is not None
    return [item.attempt for item in found[1]]


@pytest.mark.parametrize("kind", [OutcomeKind.SNOOZED, OutcomeKind.RELEASED])
def test_only_the_last_ones_stay(store: Store, kind: OutcomeKind) -> None:
    tracking = Tracking(store)
    tracking.submit(1)
    for _ in range(KEPT_SNOOZES + 15):
        again(tracking, kind)
    assert history(store) == list(range(16, KEPT_SNOOZES + 16))
    task = tracking.task(1)
    assert (task.snoozes, task.attempt, task.failures) == (KEPT_SNOOZES + 15,) * 2 + (0,)
    with store._database.reading() as connection:
        lines = connection.exec_driver_sql("SELECT min(attempt), count(*) FROM task_logs").one()
    assert tuple(lines) == (16, KEPT_SNOOZES)


def test_attempts_that_count_stay(store: Store) -> None:
    tracking = Tracking(store)
    tracking.submit(1, max_attempts=9)
    failed = [again(tracking, OutcomeKind.FAILED, retryable=True)]
    for _ in range(5):
        again(tracking, OutcomeKind.SNOOZED)
    failed.append(again(tracking, OutcomeKind.FAILED, retryable=True))
    for _ in range(KEPT_SNOOZES + 5):
        last = again(tracking, OutcomeKind.SNOOZED)
    assert history(store) == [*failed, *range(last - KEPT_SNOOZES + 1, last + 1)]


def test_a_long_history_of_before_becomes_short_in_steps(store: Store) -> None:
    tracking = Tracking(store)
    tracking.submit(1)
    again(tracking, OutcomeKind.SNOOZED)
    many = 350
    row = {"task_id": ID, "runner_id": "r", "started_at": NOW, "finished_at": NOW}
    rows = [row | {"attempt": n, "outcome": "snoozed"} for n in range(2, many + 1)]
    with store._database.writing() as connection:
        connection.execute(insert(attempts), rows)
        connection.exec_driver_sql(f"UPDATE tasks SET attempt = {many}")
    sizes = []
    for _ in range(5):
        again(tracking, OutcomeKind.SNOOZED)
        with store._database.reading() as connection:
            count = connection.exec_driver_sql("SELECT count(*) FROM attempts").scalar_one()
        sizes.append(count)
    assert sizes == [251, 152, 53, KEPT_SNOOZES, KEPT_SNOOZES]


def test_the_newest_are_read_and_the_others_counted(store: Store, store_url: str) -> None:
    tracking = Tracking(store)
    tracking.submit(1, max_attempts=1000)
    again(tracking, OutcomeKind.FAILED, retryable=True)
    row = {"task_id": ID, "runner_id": "r", "started_at": NOW, "finished_at": NOW}
    rows = [row | {"attempt": n, "outcome": "failed"} for n in range(2, MAX_ATTEMPTS + 31)]
    with store._database.writing() as connection:
        connection.execute(insert(attempts), rows)
        connection.exec_driver_sql(f"UPDATE tasks SET attempt = {MAX_ATTEMPTS + 30}")
    newest = list(range(31, MAX_ATTEMPTS + 31))
    assert history(store) == newest
    points: Any = (
        SqlitePoints(store_url) if store_url.startswith("sqlite") else PostgresPoints(store_url)
    )
    found = points.read(ID) if store_url.startswith("sqlite") else points.read([ID])[ID]
    points.close()
    assert [item.attempt for item in found[1]] == newest
    assert b'"attempts_omitted":30' in task_json(ShownTask(found[0]), found[1])
    assert b'"attempts_omitted":0' in task_json(ShownTask(found[0]), [])


@pytest.mark.parametrize("seconds", [0.0, -5.0, 0.2, float("nan")])
def test_a_snooze_takes_a_while(store: Store, seconds: float) -> None:
    tracking = Tracking(store)
    tracking.submit(1)
    [running] = tracking.claim()
    tracking.settle(running, OutcomeKind.SNOOZED, delay_seconds=seconds)
    assert tracking.task(1).run_at == NOW + MIN_SNOOZE_SECONDS
    assert tracking.claim() == []


class TestEvents:
    """They are made of what is kept: what is gone is left out, and nothing is made up."""

    def life(self, store: Store) -> list[StateEntry | LogEntry]:
        """A task that fails, puts itself off for long, is cancelled and retried, and completes."""
        tracking = Tracking(store)
        tracking.tick(submissions=[new_task(1, max_attempts=9)])
        again(tracking, OutcomeKind.FAILED, retryable=True)
        for number in range(KEPT_SNOOZES + 12):
            if number == 3:
                tracking.tick(cancels=[ID])
                tracking.tick(retries=[ID])
            again(tracking, OutcomeKind.SNOOZED)
        again(tracking, OutcomeKind.SUCCEEDED)
        return self.events(store, None)

    def events(self, store: Store, after: Any) -> list[Any]:
        found: list[Any] = []
        while True:
            [page] = store.read(TaskEvents([EventQuery(ID, after=after)], 7))
            assert page is not None
            found += page.events
            if not page.more:
                return found
            after = page.events[-1].id

    def test_what_is_told_has_happened(self, store: Store) -> None:
        told = self.life(store)
        states = [event for event in told if isinstance(event, StateEntry)]
        assert [(event.state, event.attempt) for event in states[:3]] == [
            (State.PENDING, 0), (State.RUNNING, 1), (State.RETRYING, 1),
        ]  # fmt: skip
        assert State.CANCELLED not in {event.state for event in states}
        numbers = [event.attempt for event in states[3:]]
        assert numbers == sorted(numbers)
        assert numbers[0] == KEPT_SNOOZES + 12 + 1 - KEPT_SNOOZES + 1
        pairs = [(event.attempt, event.state) for event in states[3:-2]]
        first = numbers[0]
        assert pairs == [
            pair
            for number in range(first, first + KEPT_SNOOZES)
            for pair in ((number, State.RUNNING), (number, State.PENDING))
        ]
        assert [event.state for event in states[-2:]] == [State.RUNNING, State.COMPLETED]
        ids = [event.id for event in told]
        assert ids == sorted(set(ids))

    def test_from_any_place_on_it_is_the_same(self, store: Store) -> None:
        told = self.life(store)
        last = told[-1].id[0]
        for revision in range(last + 1):
            later = [event for event in told if event.id > (revision, 0)]
            assert self.events(store, (revision, 0)) == later

    def test_where_also_the_first_attempt_is_gone(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        for _ in range(KEPT_SNOOZES + 5):
            again(tracking, OutcomeKind.SNOOZED)
        states = [event for event in self.events(store, None) if isinstance(event, StateEntry)]
        assert (states[0].id, states[0].state, states[0].attempt) == ((0, 0), State.PENDING, 0)
        assert (states[1].state, states[1].attempt) == (State.RUNNING, 6)
        assert len(states) == 1 + 2 * KEPT_SNOOZES
