"""The groups of FAILED tasks, on either database."""

from collections.abc import Callable

import pytest

from raytasks.model.failures import ErrorGroups
from raytasks.model.states import OutcomeKind
from raytasks.protocol.queries import ErrorList
from raytasks.store import error_groups
from raytasks.store.store import Store
from tests.making import Tracking, task_id
from tests.store.test_plans import plans

NOON = 500 * 3600.0


@pytest.fixture
def tracking(store_url: str, open_store: Callable[..., Store]) -> Tracking:
    return Tracking(open_store(store_url))


def fail(
    tracking: Tracking, number: int, error: str, *, at: float, task_type: str = "short"
) -> None:
    tracking.submit(number, task_type=task_type)
    tracking.now = at
    [running] = tracking.claim("r1", **{task_type: 1})
    text = f'{{"type":"{error}","message":"no {number}","retryable":false,"traceback":null}}'
    tracking.settle(running, OutcomeKind.FAILED, error=text)


def found(tracking: Tracking, task_type: str | None = None) -> ErrorGroups:
    return tracking.store.read(ErrorList("default", task_type, NOON + 60))


def test_failures_are_grouped_by_type_and_class_the_largest_first(tracking: Tracking) -> None:
    assert found(tracking).groups == []
    fail(tracking, 1, "ValueError", at=NOON - 30 * 3600)
    fail(tracking, 3, "ValueError", at=NOON - 3600)
    fail(tracking, 2, "ValueError", at=NOON + 30)
    fail(tracking, 4, "KeyError", at=NOON - 3601)
    fail(tracking, 5, "ValueError", at=NOON, task_type="long")
    fail(tracking, 6, "ValueError", at=NOON, task_type="raytasks.own")
    shown = found(tracking)
    assert shown.since == NOON - 23 * 3600
    assert [(item.task_type, item.error_type, item.count) for item in shown.groups] == [
        ("short", "ValueError", 3),
        ("long", "ValueError", 1),
        ("short", "KeyError", 1),
    ]
    first = shown.groups[0]
    assert (first.first_at, first.last_at) == (NOON - 30 * 3600, NOON + 30)
    assert (first.newest_task_id, first.message) == (task_id(2), "no 2")
    assert list(first.hours) == [0] * 22 + [1, 1]  # one is older than a day
    assert list(shown.groups[2].hours) == [0] * 21 + [1, 0, 0]
    assert [item.task_type for item in found(tracking, "long").groups] == ["long"]


def test_of_several_that_failed_at_once_the_newest_is_shown(tracking: Tracking) -> None:
    for number in (2, 3, 1):
        fail(tracking, number, "ValueError", at=NOON)
    fail(tracking, 4, "KeyError", at=NOON)
    first, _ = found(tracking).groups
    assert (first.newest_task_id, first.message) == (task_id(3), "no 3")


def test_the_hours_have_sharp_borders(tracking: Tracking) -> None:
    for number, at in enumerate((NOON - 3600.001, NOON - 3600, NOON - 0.001, NOON), 1):
        fail(tracking, number, "ValueError", at=at)
    fail(tracking, 9, "ValueError", at=NOON - 23 * 3600 - 0.001)  # before the first one
    [group] = found(tracking).groups
    assert list(group.hours) == [0] * 21 + [1, 2, 1]


def test_a_task_that_is_retried_or_pruned_is_in_no_group(tracking: Tracking) -> None:
    for number in (1, 2, 3):
        fail(tracking, number, "ValueError", at=NOON + number)
    tracking.tick(retries=[task_id(3)])
    tracking.tick(prunings=[([task_id(1)], NOON + 2)])
    [group] = found(tracking).groups
    assert (group.count, group.newest_task_id, group.first_at) == (1, task_id(2), NOON + 2)


def test_of_very_many_groups_the_smallest_are_left_out(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_groups, "MAX_GROUPS", 1)
    for number, error in enumerate(("A", "B", "B", "C")):
        fail(tracking, number, error, at=NOON)
    shown = found(tracking)
    assert [group.error_type for group in shown.groups] == ["B"]
    assert shown.omitted == 2


def test_groups_come_from_their_index_alone(
    sqlite_url: str, open_store: Callable[..., Store]
) -> None:
    tracking = Tracking(open_store(sqlite_url))
    fail(tracking, 1, "ValueError", at=NOON)
    fail(tracking, 2, "KeyError", at=NOON)
    with plans(tracking.store) as steps:
        found(tracking)
    walk = "SEARCH tasks USING COVERING INDEX ix_tasks_failed (namespace=?"
    groups, hours, *newest = [step for step in steps if "tasks" in step]
    assert (groups, hours) == (f"{walk})", f"{walk})"), steps
    search = f"{walk} AND task_type=? AND error_type=? AND finished_at=?)"
    by_id = "SEARCH tasks USING INDEX sqlite_autoindex_tasks_1 (task_id=?)"
    assert newest == [search, search, by_id], steps
    assert steps.count("USE TEMP B-TREE FOR GROUP BY") == 1, steps  # for the hours
