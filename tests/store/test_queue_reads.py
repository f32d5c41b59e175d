"""The tasks before another one, and the one that has been due longest, on each database."""

import pytest

from raytasks.store.store import Store
from tests.making import NOW, Tracking, new_task, task_id


@pytest.fixture
def tracking(store: Store) -> Tracking:
    return Tracking(store)


def test_what_is_claimed_before_a_task(tracking: Tracking) -> None:
    for number in (1, 2, 3):
        tracking.submit(number, run_at=NOW - 10 + number)
    tracking.submit(4, task_type="long")
    tracking.submit(5, priority=5)
    tracking.submit(6, run_at=NOW + 60)
    tracking.tick(submissions=[new_task(7, task_type="other")])

    def before(number: int, *types: str, limit: int = 100) -> int:
        lanes = tracking.lane_asks(*(types or ("short", "long")))
        return tracking.store.place_of(task_id(number), lanes, limit).before

    assert [before(number) for number in (5, 1, 2, 3, 4)] == [0, 1, 2, 3, 4]
    assert before(3, "short") == 3
    assert before(4, "long") == 0
    assert before(4, limit=2) == 2
    claimed = tracking.claim(capacity=2, short=2)
    assert [item.task_id for item in claimed] == [task_id(5), task_id(1)]
    assert before(3) == 1
    assert before(99) == 0  # unknown


def test_since_when_the_oldest_is_due(tracking: Tracking) -> None:
    tracking.submit(1, run_at=NOW + 50)
    tracking.now += 1
    tracking.submit(2, run_at=tracking.now)
    tracking.now += 1
    tracking.submit(3, run_at=tracking.now, priority=9)
    tracking.submit(4, run_at=tracking.now, task_type="long")

    def oldest(limit: int) -> dict[str, float]:
        return tracking.store.oldest_due(tracking.lane_asks("short", "long", limit=limit))

    assert oldest(100) == {"short": NOW + 1, "long": NOW + 2}
    assert oldest(1) == {"short": NOW + 2, "long": NOW + 2}
    assert tracking.store.oldest_due([]) == {}
