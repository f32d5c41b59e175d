"""How SQLite carries out our statements: by the indexes made for them, never by a full scan."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from sqlalchemy import Connection, event

from raytasks.model.bulk_operations import NewBulk
from raytasks.model.states import OutcomeKind, State
from raytasks.protocol.messages import Report
from raytasks.protocol.queries import TasksById
from raytasks.store.compiled import CompiledQuery, Row, RowStatement
from raytasks.store.cursors import Fence, SqliteDirect
from raytasks.store.store import Store
from raytasks.tracker.bulk_turns import make, run_step
from tests.making import (
    NOW,
    Tracking,
    bulk_filter,
    capacity_request,
    ids,
    lane_ask,
    new_task,
    task_id,
    task_query,
)

NEXT = "SEARCH after USING INDEX ix_tasks_ready (task_type=? AND lane=? AND rank>?)"
FIRST = "SEARCH first USING INDEX ix_tasks_ready (task_type=? AND lane=? AND rank>?)"


@pytest.fixture
def tracking(sqlite_url: str, open_store: Callable[..., Store]) -> Tracking:
    """A store with tasks in several states."""
    tracking = Tracking(open_store(sqlite_url))
    tracking.submit(*range(20))
    tracking.submit(*range(20, 30), task_type="long", run_at=NOW + 5)
    tracking.submit(30, task_type="long", run_at=NOW - 1)
    tracking.claim(capacity=2)
    tracking.now += 10
    return tracking


@contextmanager
def plans(store: Store) -> Iterator[list[str]]:
    """Gather the steps of the plans of all statements on `tasks`, as they are carried out."""
    steps: list[str] = []

    def explain(driver: Any, statement: str, parameters: Any) -> None:
        if (
            not ("tasks" in statement or "task_tags" in statement)
            or "EXPLAIN" in statement
            or statement.startswith("SELECT task_counts")
        ):
            return
        if statement.startswith("INSERT INTO task_counts"):
            return
        question = driver.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        steps.extend(row[3] for row in question)

    def explain_alchemy(
        connection: Connection, _cursor: Any, statement: str, parameters: Any, *_rest: Any
    ) -> None:
        many = isinstance(parameters, list)
        driver = connection.connection.driver_connection
        explain(driver, statement, parameters[0] if many else parameters)

    class Explained(SqliteDirect):
        def write(
            self, batch: RowStatement, rows: Sequence[Row], fence: Fence | None = None
        ) -> None:
            explain(self._cursor.connection, batch.for_rows, rows[0])
            super().write(batch, rows, fence)

        def read_each(
            self, query: CompiledQuery, bound: Iterable[Mapping[str, Any]]
        ) -> list[tuple[Any, ...]]:
            bound = list(bound)
            for values in bound:
                explain(self._cursor.connection, query.text, query.values(values))
            return super().read_each(query, bound)

    engines = (store._database._writer, store._database._reader)
    for engine in engines:
        event.listen(engine, "before_cursor_execute", explain_alchemy)
    with mock.patch("raytasks.store.database.direct", Explained):
        yield steps
    for engine in engines:
        event.remove(engine, "before_cursor_execute", explain_alchemy)


def scans(steps: list[str]) -> list[str]:
    """Return the steps that go through all rows of a table, or sort for themselves.

    The ids that walks have found are few, and may be sorted.
    """
    return [
        step
        for before, step in zip(["", *steps], steps, strict=False)
        if step.startswith("SCAN tasks") or ("TEMP B-TREE" in step and before != "SCAN walked")
    ]


def test_a_claim_reads_just_the_first_of_the_claim_index(tracking: Tracking) -> None:
    requests = [capacity_request(short=3, long=3)]
    plan = tracking.plan(requests)  # it looks at all tasks, which a tracker does not
    with plans(tracking.store) as steps:
        assert len(tracking.tick(requests=requests, plan=plan).claimed) == 4
    assert steps.count(FIRST) == 1  # one question for both lanes
    assert scans(steps) == []


@pytest.mark.parametrize("lanes", [2, 9, 70])
def test_a_claim_of_many_lanes_does_so_for_each(tracking: Tracking, lanes: int) -> None:
    asks = [lane_ask(2, lane=f"lane {number}", looks_on=True) for number in range(lanes)]
    with plans(tracking.store) as steps, tracking.store.transaction(now=NOW) as transaction:
        assert transaction.candidates([*asks, lane_ask(2, looks_on=True)]) != []
    assert {step for step in steps if step.startswith("S") and "CONSTANT" not in step} == {
        "SCAN asked",
        "SEARCH tasks USING INTEGER PRIMARY KEY (rowid=?)",
        FIRST,
        NEXT,
    }


def test_the_oldest_due_tasks_are_the_first_of_the_claim_index(tracking: Tracking) -> None:
    asks = tracking.lane_asks("long", "short", limit=5)
    with plans(tracking.store) as steps:
        assert tracking.store.oldest_due(asks) == {"long": NOW - 1, "short": NOW}
    index = "ix_tasks_ready (task_type=? AND lane=? AND rank>?)"
    assert steps.count(f"SEARCH tasks USING INDEX {index}") == 2
    assert scans(steps) == []


def test_what_comes_due_is_found_in_the_index_of_scheduled_tasks(tracking: Tracking) -> None:
    with plans(tracking.store) as steps:
        tracking.tick(promote=True)
    used = [step for step in steps if "ix_tasks_scheduled" in step]
    assert len(used) == 2
    assert "(run_at<?)" in used[0]
    assert scans([step for step in steps if step not in used]) == []


def test_every_write_finds_its_row_by_its_id(tracking: Tracking) -> None:
    running = tracking.store.running()
    with plans(tracking.store) as steps:
        tracking.tick(submissions=[new_task(50)], reports=[Report(task_id(0), 1, 1, fraction=0.5)])
        tracking.settle(running[0], OutcomeKind.FAILED)
        tracking.tick(cancels=ids([1, 2]), retries=ids([0]))
    assert len(steps) >= 5
    assert scans(steps) == []
    assert all("(task_id=?)" in step for step in steps)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ({"state": State.PENDING}, "uncompleted (namespace=? AND state=?)"),
        ({"state": State.COMPLETED}, "completed (namespace=?)"),
        ({"state": State.COMPLETED, "cursor": task_id(9)}, "completed (namespace=? AND task_id<?)"),
        (
            {"task_type": "long", "state": State.PENDING},
            "at_rest_type (namespace=? AND task_type=? AND state=?)",
        ),
        (
            {"task_type": "long", "state": State.RUNNING},
            "uncompleted (namespace=? AND state=?)",
        ),
        (
            {"task_type": "long", "state": State.COMPLETED},
            "completed_type (namespace=? AND task_type=?)",
        ),
    ],
)
def test_a_list_by_state_walks_an_index_from_its_end(
    tracking: Tracking, query: dict[str, Any], index: str
) -> None:
    with plans(tracking.store) as steps:
        tracking.store.read(task_query(**query))
    [step] = steps
    assert f"ix_tasks_{index}" in step


@pytest.mark.parametrize("query", [{}, {"cursor": task_id(9)}, {"task_type": "long"}])
def test_a_list_of_all_states_walks_an_index_for_each(
    tracking: Tracking, query: dict[str, Any]
) -> None:
    with plans(tracking.store) as steps:
        page = tracking.store.read(task_query(**query, limit=5))
    assert page.tasks
    walks = [step for step in steps if "ix_tasks_" in step]
    assert len(walks) == len(State)
    ends = "AND task_id<?)" if "cursor" in query else "=?)"
    assert all(step.endswith(ends) for step in walks), walks
    assert not any(step.startswith("SCAN tasks") for step in steps)


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({}, "ix_tasks_uncompleted (namespace=? AND state=? AND task_id<?)"),
        ({"state": State.PENDING}, "ix_tasks_uncompleted (namespace=? AND state=? AND task_id<?)"),
        (
            {"task_type": "long"},
            "ix_tasks_at_rest_type (namespace=? AND task_type=? AND state=?",
        ),
        ({"tag": "t"}, "task_tags USING PRIMARY KEY (namespace=? AND tag=? AND task_id<?)"),
    ],
)
def test_a_bulk_operation_walks_an_index_behind_its_cursor(
    tracking: Tracking, asked: dict[str, Any], index: str
) -> None:
    tracking.submit(60, tags='["t"]')
    meant = bulk_filter("cancel", **asked)
    new = NewBulk("0198ffff-0000-7000-8000-000000000001", meant, NOW)
    make(tracking.store, tracking.epoch, NOW, new)
    with plans(tracking.store) as steps:
        step = run_step(tracking.store, tracking.epoch, NOW, "")
    assert step is not None
    assert step.changes
    assert any(index in plan for plan in steps), steps
    assert scans(steps) == []


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda store: store.running(), "ix_tasks_uncompleted (namespace=? AND state=?)"),
        (lambda store: store.next_due(), "ix_tasks_scheduled"),
        (lambda store: store.any_ready(["short", "long"]), "ix_tasks_ready (task_type=?)"),
        (lambda store: store.read(TasksById(ids([1, 2]))), "sqlite_autoindex_tasks_1 (task_id=?)"),
    ],
    ids=["running", "next_due", "any_ready", "tasks"],
)
def test_what_the_tracker_asks_is_served_by_an_index(
    tracking: Tracking, ask: Callable[[Store], object], index: str
) -> None:
    with plans(tracking.store) as steps:
        ask(tracking.store)
    assert all(index in step for step in steps if "tasks" in step and "task_counts" not in step)
    assert any(index in step for step in steps), steps


def test_what_is_before_a_task_is_counted_in_the_claim_index(tracking: Tracking) -> None:
    lanes, short = tracking.lane_asks("short", "long"), tracking.lane_asks("short")
    with plans(tracking.store) as steps:
        assert tracking.store.place_of(task_id(19), lanes, 1000) == (18, None)
        assert tracking.store.oldest_due(short) == {"short": NOW}
    assert scans(steps) == []
    assert any(
        "ix_tasks_ready (task_type=? AND lane=? AND rank>? AND rank<?)" in step for step in steps
    ), steps


def test_what_expires_is_found_in_the_index_of_expiries(tracking: Tracking) -> None:
    tracking.submit(60, 61, expires_at=tracking.now)
    with plans(tracking.store) as steps:
        assert len(tracking.tick(expire=True).changes) == 2
    used = [step for step in steps if "ix_tasks_expires_at" in step]
    assert len(used) == 2
    assert "expires_at<?)" in used[0]
    assert scans(steps) == []


def test_keys_and_their_aliases_are_found_by_one_question_in_their_indexes(
    tracking: Tracking,
) -> None:
    new = [new_task(number, idempotency_key=f"k{number}") for number in range(60, 70)]
    with plans(tracking.store) as steps:
        tracking.tick(submissions=new)
    searches = [step for step in steps if "idempotency_key=?" in step]
    assert searches == [
        "SEARCH tasks USING INDEX ix_tasks_idempotency_key (namespace=? AND idempotency_key=?)",
        "SEARCH key_aliases USING PRIMARY KEY (namespace=? AND idempotency_key=?)",
    ]
    assert scans(steps) == []
