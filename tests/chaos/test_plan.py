"""The seed fixes the plan of a run."""

from collections import Counter
from itertools import islice, takewhile

import pytest

from tests.chaos.kinds import Kind, Place
from tests.chaos.plan import (
    WEIGHTS,
    FaultKind,
    Way,
    planned_faults,
    planned_restarts,
    planned_tasks,
)
from tests.chaos_handlers import Chaos

RATE = 40.0


def test_the_same_seed_plans_the_same() -> None:
    first, again, other = (list(islice(planned_tasks(seed, RATE), 500)) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    faults = [
        list(islice(planned_faults(seed, postgresql=True, freeze_tracker=True), 50))
        for seed in (7, 7, 8)
    ]
    assert faults[0] == faults[1] != faults[2]


def test_a_short_run_has_every_kind_place_and_way() -> None:
    tasks = list(takewhile(lambda task: task.at < 40, planned_tasks(1, RATE)))
    assert 1400 < len(tasks) < 1800
    assert {task.kind for task in tasks} == set(Kind) - {Kind.PROBE}
    assert {task.place for task in tasks} == set(Place)
    assert {task.way for task in tasks} == set(Way)
    assert len({task.token for task in tasks}) == len(tasks)
    assert [task.at for task in tasks] == sorted(task.at for task in tasks)


def test_handlers_take_every_payload() -> None:
    for task in islice(planned_tasks(1, RATE), 1000):
        Chaos.model_validate(task.payload)


@pytest.mark.parametrize("postgresql", [True, False])
@pytest.mark.parametrize("freeze_tracker", [True, False])
def test_one_fault_of_each_kind_comes_first(postgresql: bool, freeze_tracker: bool) -> None:
    wanted = set(WEIGHTS)
    wanted -= set() if postgresql else {FaultKind.STOP_POSTGRESQL}
    wanted -= set() if freeze_tracker else {FaultKind.FREEZE_TRACKER}
    plan = planned_faults(3, postgresql=postgresql, freeze_tracker=freeze_tracker)
    first = list(islice(plan, len(wanted)))
    assert Counter(fault.kind for fault in first) == Counter(wanted)
    assert all(fault.must for fault in first)
    later = list(islice(plan, 200))
    assert {fault.kind for fault in later} == wanted
    assert not any(fault.must for fault in later)


@pytest.mark.parametrize(("seconds", "times"), [(60, []), (300, [150]), (900, [300, 600])])
def test_the_service_is_killed_in_longer_runs(seconds: float, times: list[float]) -> None:
    assert planned_restarts(seconds) == times
