"""The memory of deleted tasks: how long it lasts, and how much it holds."""

import pytest

from raytasks.testing import FakeClock
from raytasks.tracker import deleted_tasks
from raytasks.tracker.deleted_tasks import KEEP_SECONDS, DeletedTasks
from tests.making import ids, new_task

TASKS = [new_task(number) for number in range(4)]


def test_what_was_never_deleted_comes_in(clock: FakeClock) -> None:
    assert DeletedTasks(clock).without(TASKS) == TASKS


def test_it_lasts_from_the_newest_deletion(clock: FakeClock) -> None:
    deleted = DeletedTasks(clock)
    deleted.note(ids((0, 1)))
    clock.advance(KEEP_SECONDS - 1)
    deleted.note(ids((1, 2)))
    assert deleted.without(TASKS) == TASKS[3:]
    clock.advance(2)
    assert deleted.without(TASKS) == [TASKS[0], TASKS[3]]
    clock.advance(KEEP_SECONDS)
    assert deleted.without(TASKS) == TASKS


def test_of_too_many_the_oldest_are_forgotten(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deleted_tasks, "MOST", 2)
    deleted = DeletedTasks(clock)
    deleted.note(ids((0, 1, 2)))
    assert deleted.without(TASKS) == [TASKS[0], TASKS[3]]
