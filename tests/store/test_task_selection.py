"""The one filter for tasks: lists, counts and bulk operations by it, on either database."""

from collections.abc import Callable
from typing import Any

import pytest

from raytasks.model.bulk_operations import BulkAction, BulkFilter, NewBulk
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_filter import TaskFilter
from raytasks.protocol.queries import BulkMatches, TaskQuery
from raytasks.store import task_selection
from raytasks.store.store import Store
from raytasks.tracker.bulk_turns import make, run_step
from tests.making import Tracking, ids, new_task, task_id
from tests.store.test_plans import plans

BORN = 0x0198C1DE0000 / 1000  # as the ids of `task_id` tell
FAILED = '{"type":"%s","message":"no","retryable":false,"traceback":null}'


@pytest.fixture
def tracking(store_url: str, open_store: Callable[..., Store]) -> Tracking:
    tracking = Tracking(open_store(store_url))
    tracking.now = BORN
    for number in range(12):
        tracking.now = BORN + 60 * number
        task_type = ("short", "long")[number % 2]
        tags = '["t"]' if number % 3 == 0 else None
        at = tracking.now
        task = new_task(number, task_type=task_type, tags=tags, run_at=at, created_at=at)
        tracking.tick(submissions=[task])
        if number % 4:
            running = tracking.claim(f"r{number}", **{task_type: 12})
            for item in running:
                if item.task_id == task_id(number):
                    error = FAILED % ("ValueError", "KeyError", "OSError")[number % 3]
                    tracking.settle(item, OutcomeKind.FAILED, error=error)
                else:
                    tracking.settle(item, OutcomeKind.RELEASED)
    return tracking


CASES: list[tuple[dict[str, Any], list[int]]] = [
    ({}, list(range(12))),
    ({"states": (State.FAILED,)}, [1, 2, 3, 5, 6, 7, 9, 10, 11]),
    ({"states": (State.PENDING, State.FAILED)}, list(range(12))),
    ({"states": (State.PENDING, State.RUNNING)}, [0, 4, 8]),
    ({"states": (State.PENDING, State.FAILED), "task_type": "long"}, [1, 3, 5, 7, 9, 11]),
    ({"error_type": "ValueError"}, [3, 6, 9]),
    ({"error_type": "ValueError", "task_type": "long"}, [3, 9]),
    ({"error_type": "KeyError", "states": (State.FAILED,)}, [1, 7, 10]),
    ({"error_type": "KeyError", "states": (State.RETRYING,)}, []),
    ({"tag": "t", "error_type": "ValueError"}, [3, 6, 9]),
    ({"tag": "t", "states": (State.PENDING, State.FAILED)}, [0, 3, 6, 9]),
    ({"created_after": BORN + 300}, [5, 6, 7, 8, 9, 10, 11]),
    ({"created_before": BORN + 300}, [0, 1, 2, 3, 4]),
    ({"created_after": BORN + 120, "created_before": BORN + 300, "task_type": "short"}, [2, 4]),
    ({"created_after": BORN + 120, "states": (State.PENDING, State.FAILED), "tag": "t"}, [3, 6, 9]),
    ({"created_before": BORN + 300, "states": (State.FAILED,)}, [1, 2, 3]),
    ({"error_type": "none such"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "numbers"), CASES)
@pytest.mark.parametrize("step", [3, 2000])
def test_a_list_has_just_the_tasks_of_its_filter(
    tracking: Tracking,
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    numbers: list[int],
    step: int,
) -> None:
    monkeypatch.setattr(task_selection, "STEP", step)
    wanted = TaskFilter(**asked)
    found: list[str] = []
    cursor = None
    for _ in range(20):
        page = tracking.store.read(TaskQuery(wanted, limit=2, cursor=cursor))
        found += [task.task_id for task in page.tasks]
        assert page.total == (len(numbers) if wanted.is_counted else None)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == ids(sorted(numbers, reverse=True))


@pytest.mark.parametrize(("asked", "numbers"), [case for case in CASES if case[0]])
def test_a_bulk_operation_counts_and_changes_just_those(
    tracking: Tracking, asked: dict[str, Any], numbers: list[int]
) -> None:
    fitting = set(BulkAction.RETRY.sources)
    if not set(asked.get("states", ())) <= fitting:
        return
    if "states" not in asked:
        numbers = [number for number in numbers if number % 4]
    meant = BulkFilter(BulkAction.RETRY, TaskFilter(**asked))
    assert tracking.store.read(BulkMatches(meant)) == len(numbers)
    new = NewBulk("0198ffff-0000-7000-8000-000000000001", meant, tracking.now)
    made, _, _ = make(tracking.store, tracking.epoch, tracking.now, new)
    assert made.filter == meant
    changed: list[str] = []
    while (step := run_step(tracking.store, tracking.epoch, tracking.now, "")) is not None:
        assert step.operation.filter == meant
        changed += [change.task_id for change in step.changes]
    assert changed == ids(sorted(numbers, reverse=True))


def test_tasks_of_raytasks_itself_are_shown_only_if_asked_for(tracking: Tracking) -> None:
    tracking.submit(20, 21, task_type="raytasks.callback", tags='["t"]', created_at=BORN)
    for asked in ({}, {"states": (State.PENDING,)}, {"tag": "t"}, {"created_after": BORN}):
        page = tracking.store.read(TaskQuery(TaskFilter(**asked)))
        assert not any(task.task_type.startswith("raytasks.") for task in page.tasks), asked
    assert tracking.store.read(TaskQuery()).total == 12
    own = tracking.store.read(TaskQuery(TaskFilter(task_type="raytasks.callback")))
    assert (len(own.tasks), own.total) == (2, 2)
    cancel = BulkFilter(BulkAction.CANCEL)
    assert tracking.store.read(BulkMatches(cancel)) == 3


def test_an_error_is_known_by_its_class_until_a_retry(tracking: Tracking) -> None:
    page = tracking.store.read(TaskQuery(TaskFilter(error_type="KeyError")))
    tracking.tick(retries=[task.task_id for task in page.tasks])
    assert tracking.store.read(TaskQuery(TaskFilter(error_type="KeyError"))).tasks == []
    tracking.submit(30, task_type="odd")
    [running] = tracking.claim(odd=1)
    tracking.settle(running, OutcomeKind.FAILED, error='{"type": 7}')  # it settles nevertheless
    assert tracking.state(30) is State.FAILED


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ({"error_type": "KeyError"}, "ix_tasks_error_type (namespace=? AND error_type=?)"),
        (
            {"created_after": BORN, "created_before": BORN + 60},
            "ix_tasks_completed (namespace=? AND task_id>? AND task_id<?)",
        ),
        ({"tag": "t"}, "task_tags USING PRIMARY KEY (namespace=? AND tag=?)"),
        (
            {"states": (State.PENDING, State.FAILED)},
            "ix_tasks_uncompleted (namespace=? AND state=?)",
        ),
    ],
)
def test_a_list_by_any_one_filter_walks_an_index(
    sqlite_url: str, open_store: Callable[..., Store], asked: dict[str, Any], index: str
) -> None:
    store = open_store(sqlite_url)
    with plans(store) as steps:
        store.read(TaskQuery(TaskFilter(**asked)))
    assert any(index in step for step in steps), steps
    assert not any(step.startswith("SCAN tasks") for step in steps), steps
