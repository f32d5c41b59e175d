"""The events of a task as the database has them: the same as the feed told, from any place on."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import update

from raytasks.model.changes import TaskChanges
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_events import (
    Event,
    EventPage,
    EventQuery,
    LogEntry,
    LogLine,
    StateEntry,
    TaskProgress,
)
from raytasks.model.tasks import Running
from raytasks.protocol.messages import AttemptLog, Report, StateChange
from raytasks.protocol.queries import TaskEvents
from raytasks.store.schema import attempts, tasks
from raytasks.store.store import Store
from raytasks.tracker.acting import Target
from tests.making import NOW, Tracking, outcome, task_id

ID = task_id(1)
SOME = 1000

STEPS = st.lists(
    st.one_of(
        st.sampled_from(["claim", "claim", "claim", "cancel", "retry", "retry", "log", "log"]),
        st.just("change"),
        st.sampled_from([*OutcomeKind, OutcomeKind.FAILED, OutcomeKind.FAILED]),
    ),
    max_size=25,
)


def page(store: Store, after: Any = None, limit: int = SOME, **more: Any) -> EventPage:
    [found] = store.read(TaskEvents([EventQuery(ID, after, **more)], limit))
    assert found is not None
    return found


def log(running: Running, *numbers: int) -> AttemptLog:
    lines = tuple(LogLine(n, NOW + n, "INFO", f"line {n}") for n in numbers)
    return AttemptLog(running.task_id, running.attempt, 1, lines)


class Life:
    """One task, which does what it is told where that is possible."""

    def __init__(self, store: Store) -> None:
        self.tracking = Tracking(store)
        self.changes: list[StateChange] = []
        self.expected: list[tuple[int, int]] = []
        self.running: Running | None = None
        self.lines = 0
        self.tracking.submit(1)
        self.changes.append(StateChange(ID, "short", State.PENDING, 0, at=NOW))

    def step(self, step: str | OutcomeKind) -> None:
        self.tracking.now += 1
        if step == "claim" and self.running is None:
            self._tick(promote=True)
            self.lines = 0
            self.running = next(iter(self.tracking.claim()), None)
            if self.running is not None:
                self.changes.append(
                    StateChange(
                        ID, "short", State.RUNNING, self.running.attempt,
                        revision=self.running.revision, at=self.tracking.now,
                    )
                )  # fmt: skip
        elif step == "log" and self.running is not None:
            self.lines += 1
            self._tick(logs=[log(self.running, self.lines)])
            self.expected.append((self.running.revision, self.lines))
        elif step in ("cancel", "retry"):
            done = self._tick(**{"cancels" if step == "cancel" else "retries": [ID]})
            after = done.acted.after.get(ID)
            if self.running is not None and after is not None and after.cancel_requested:
                self.running = replace(self.running, cancel_requested=True)
        elif step == "change":
            revision = self.changes[-1].revision
            target = Target(ID, changes=TaskChanges(priority=1), revision=revision)
            self._tick(changes=[target])
        elif isinstance(step, OutcomeKind) and self.running is not None:
            running, self.running = self.running, None
            began = {"started_at": running.claimed_at}
            done = self.tracking.settle(running, step, retryable=True, **began)
            self.changes += done.changes

    def _tick(self, **work: Any) -> Any:
        done = self.tracking.tick(**work)
        self.changes += done.changes
        return done

    def ids(self) -> list[tuple[int, int]]:
        """Return the ids of all that must have been told by now."""
        return sorted([*self.expected, *((change.revision, 0) for change in self.changes)])


def check(life: Life, store: Store) -> None:
    events = page(store).events
    assert [event.id for event in events] == life.ids()
    states = [event for event in events if isinstance(event, StateEntry)]
    assert [(e.revision, e.state, e.attempt) for e in states] == [
        (change.revision, change.state, change.attempt) for change in life.changes
    ]
    for state, change in zip(states, life.changes, strict=True):
        assert state.at is None or state.at == change.at
    for index, event in enumerate(events):
        assert list(page(store, event.id).events) == list(events[index + 1 :])
        assert list(page(store, event.id, limit=2).events) == list(events[index + 1 : index + 3])
    assert in_steps(store) == list(events)


def in_steps(store: Store) -> list[Event]:
    """Return all events, one by one."""
    found: list[Event] = []
    more = True
    while more:
        part = page(store, found[-1].id if found else None, limit=1)
        found += part.events
        more = part.more
    return found


@contextmanager
def fresh_store(template: Path) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{shutil.copy(template, Path(folder) / 'tasks.db')}")
        yield store
        store.close()


@given(steps=STEPS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_has_happened_is_told_again(sqlite_template: Path, steps: list[Any]) -> None:
    with fresh_store(sqlite_template) as store:
        life = Life(store)
        for step in steps:
            life.step(step)
        check(life, store)


def test_both_databases_tell_it(store: Store) -> None:
    life = Life(store)
    failed, snoozed = OutcomeKind.FAILED, OutcomeKind.SNOOZED
    for step in ("change", "cancel", "retry", "claim", "log", "log", snoozed, "change", "change",
                 "cancel", "retry", "change", "cancel", "retry", "claim", failed, "claim", "log",
                 failed, "claim", failed, "retry", "claim", "log"):  # fmt: skip
        life.step(step)
        check(life, store)
    assert len(life.changes) > 15


def test_the_end_of_an_attempt_says_how_it_ended(store: Store) -> None:
    tracking = Tracking(store)
    tracking.submit(1, tags='["x"]')
    [running] = tracking.claim()
    error = '{"type":"ValueError","message":"no","retryable":true,"traceback":"secret"}'
    tracking.settle(running, OutcomeKind.FAILED, error=error, retryable=False)
    found = page(store)
    assert (found.task_type, found.namespace, found.state) == ("short", "default", State.FAILED)
    assert found.events == [
        StateEntry(0, State.PENDING, 0, NOW),
        StateEntry(1, State.RUNNING, 1, NOW),
        StateEntry(2, State.FAILED, 1, NOW, OutcomeKind.FAILED, ("ValueError", "no")),
    ]
    assert not found.more


def test_unknown_tasks_and_those_of_other_namespaces_are_not_there(store: Store) -> None:
    Tracking(store).submit(1, namespace="team")
    assert store.read(TaskEvents([EventQuery(ID), EventQuery(task_id(2))], 10)) == [None, None]
    assert page(store, namespace="team").namespace == "team"
    assert store.read(TaskEvents([], 10)) == []


def test_one_answer_has_so_many_events_in_all(store: Store) -> None:
    tracking = Tracking(store)
    tracking.submit(1, 2, 3)
    tracking.claim()
    pages = store.read(TaskEvents([EventQuery(task_id(n)) for n in (1, 2, 3)], 3))
    assert [(len(found.events), found.more) for found in pages if found] == [
        (2, False),
        (1, True),
        (0, True),
    ]


class TestLines:
    def test_a_line_is_kept_once_and_only_of_the_running_attempt(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [first] = tracking.claim()
        tracking.tick(logs=[log(first, 1, 2)])
        tracking.tick(logs=[log(first, 1, 2, 3)])
        tracking.settle(first, OutcomeKind.RELEASED)
        tracking.tick(logs=[log(first, 4)])
        [second] = tracking.claim()
        tracking.tick(logs=[log(first, 5), log(second, 1)])
        lines = [event.id for event in page(store).events if isinstance(event, LogEntry)]
        assert lines == [(1, 1), (1, 2), (1, 3), (3, 1)]

    def test_lines_come_with_the_end_of_their_attempt(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.tick(logs=[log(running, 1)], outcomes=[(running, outcome(running))])
        assert [event.id for event in page(store).events] == [(0, 0), (1, 0), (1, 1), (2, 0)]

    def test_a_line_waits_for_those_before_it(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.tick(logs=[log(running, 3, 4)])
        assert page(store, (1, 0)).events == []
        tracking.tick(logs=[log(running, 1)])
        assert [event.id for event in page(store, (1, 0)).events] == [(1, 1)]
        tracking.tick(logs=[log(running, 2)])
        assert [event.id for event in page(store, (1, 1)).events] == [(1, 2), (1, 3), (1, 4)]

    def test_those_before_it_may_never_come(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.tick(logs=[log(running, 3)])
        tracking.settle(running, OutcomeKind.LOST)
        assert [event.id for event in page(store, (1, 0)).events] == [(1, 3), (2, 0)]

    def test_they_go_with_their_task(self, store: Store) -> None:
        tracking = Tracking(store)
        tracking.submit(1)
        [running] = tracking.claim()
        tracking.tick(logs=[log(running, 1)])
        tracking.settle(running, OutcomeKind.SUCCEEDED)
        tracking.tick(prunings=[([ID], NOW + 1)])
        assert store.read(TaskEvents([EventQuery(ID)], 10)) == [None]


def test_progress_is_that_of_the_present_attempt(store: Store) -> None:
    tracking = Tracking(store)
    tracking.submit(1)
    [first] = tracking.claim()
    assert page(store).progress is None
    tracking.tick(reports=[Report(ID, 1, 0, 0.5, "half")])
    assert page(store).progress == TaskProgress(1, 0.5, "half")
    tracking.settle(first, OutcomeKind.RELEASED)
    assert page(store).progress == TaskProgress(1, 0.5, "half")
    tracking.claim()
    assert page(store).progress is None


def test_a_task_that_is_older_than_revisions(store: Store) -> None:
    """The database was made before them: what is there has revision 0, whatever it is."""
    tracking = Tracking(store)
    tracking.submit(1)
    [running] = tracking.claim()
    tracking.settle(running, OutcomeKind.RELEASED)
    [running] = tracking.claim()
    with store._database.writing() as connection:
        connection.execute(update(attempts).values(revision=None, state=None))
        connection.execute(update(tasks).values(revision=0))
    assert page(store).events == [StateEntry(0, State.RUNNING, 2, NOW)]
    [running] = store.running()
    tracking.settle(running, OutcomeKind.SUCCEEDED)
    assert [(event.id, getattr(event, "state", None)) for event in page(store).events] == [
        ((0, 0), State.RUNNING),
        ((1, 0), State.COMPLETED),
    ]
