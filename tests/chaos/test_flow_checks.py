"""The checks of limits, rates and order find what is beyond them, and nothing else."""

import json

import pytest
from msgspec.structs import replace

from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import AttemptRecord, Task
from tests.chaos.flow_checks import check_flow, excess_of_rate, most_at_once, overlaps_of_frozen
from tests.chaos.kinds import Place
from tests.making import task_id

Span = tuple[float, float]


def done(name: str, place: Place, created_at: float) -> Task:
    """Return a task of group 1 that is done."""
    return Task(
        task_id=name,
        task_type=place,
        state=State.COMPLETED,
        payload=json.dumps({"group": 1}),
        result=None,
        error=None,
        priority=0,
        attempt=1,
        max_attempts=3,
        failures=0,
        crashes=0,
        cancel_requested=False,
        timeout_seconds=None,
        progress_fraction=None,
        progress_message=None,
        created_at=created_at,
        run_at=created_at,
        started_at=created_at,
        finished_at=created_at,
        updated_at=created_at,
    )


def held(place: Place, *known: tuple[float, list[Span]]) -> tuple[list[Task], list[AttemptRecord]]:
    """Return tasks of one group: when each was created, and the spans of its attempts."""
    tasks, attempts = [], []
    for number, (created_at, spans) in enumerate(known):
        tasks.append(done(task_id(number), place, created_at))
        attempts += [
            AttemptRecord(task_id(number), n, OutcomeKind.SUCCEEDED, "r", start, end)
            for n, (start, end) in enumerate(spans, start=1)
        ]
    return tasks, attempts


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([(0, 1), (1, 2)], 1),
        ([(0, 2), (1, 3)], 2),
        ([(0, 9), (1, 2), (2, 3), (2.5, 4)], 3),
    ],
)
def test_how_many_overlap(spans: list[Span], most: int) -> None:
    assert most_at_once(spans) == most


def test_more_than_a_limit_allows_is_found() -> None:
    right = held(Place.LIMITED, (0, [(0, 2)]), (0, [(1, 3)]), (0, [(2, 4)]))
    assert not list(check_flow(*right))
    wrong = held(Place.LIMITED, (0, [(0, 2)]), (0, [(1, 3)]), (0, [(1.9, 4)]))
    assert [excess.place for excess in check_flow(*wrong)] == [Place.LIMITED]


def test_attempts_that_were_given_up_are_counted_apart() -> None:
    tasks, attempts = held(Place.LIMITED, (0, [(0, 2)]), (0, [(1, 3)]), (0, [(2, 4)]))
    assert overlaps_of_frozen(tasks, attempts) == 0
    attempts[0] = replace(attempts[0], late_at=2.5)
    assert not list(check_flow(tasks, attempts))
    assert overlaps_of_frozen(tasks, attempts) == 1


def test_a_task_that_overtakes_is_found() -> None:
    right = held(Place.ORDERED, (0, [(0, 1), (5, 6)]), (1, [(6, 7)]), (2, [(7, 8)]))
    assert not list(check_flow(*right))
    together = held(Place.ORDERED, (0, [(1, 2)]), (0, [(0, 1)]))
    assert not list(check_flow(*together))
    wrong = held(Place.ORDERED, (0, [(0, 1), (5, 6)]), (1, [(2, 3)]), (2, [(7, 8)]))
    assert [excess.place for excess in check_flow(*wrong)] == [Place.ORDERED]


def test_more_than_a_rate_allows_is_found() -> None:
    even = [number / 4 for number in range(40)]
    assert excess_of_rate(even, 4.0, 1) is None
    assert excess_of_rate([*even, 5.0, 5.0], 4.0, 2) is not None
    assert excess_of_rate([0.0, 0.0, *(0.5 + at for at in even)], 4.0, 2) is None
    wrong = held(Place.RATED, *[(0.0, [(0.0, 1.0)])] * 4)
    assert [excess.place for excess in check_flow(*wrong)] == [Place.RATED]
