"""Whether values are those of a type's keyed limits: by the names, without a look at payloads."""

import pytest
from msgspec.structs import replace

from raytasks.model.controls import Limit
from raytasks.model.lane_names import lane_of
from raytasks.tracker.keyed_limits import KeyedLimits
from tests.making import new_task
from tests.tracker.claim_world import ClaimWorld, info
from tests.tracker.test_claims_model import KEY, ORDER, OTHER, RATE


@pytest.fixture
def limits() -> KeyedLimits:
    """Those of a version with a type that has two, and one that has none."""
    found = KeyedLimits()
    found.declare([info("two", KEY, OTHER, Limit("all", running=1)), info("none", RATE)])
    return found


@pytest.mark.parametrize(
    ("task_type", "values", "fits"),
    [
        ("two", '{"key":1,"other":2}', True),
        ("two", '{"key":1}', False),
        ("two", '{"all":1,"key":1,"other":2}', False),
        ("two", None, False),
        ("none", None, True),
        ("none", '{"key":1}', False),
        ("unknown", '{"key":1}', True),
    ],
)
def test_values_fit_by_their_names(
    limits: KeyedLimits, task_type: str, values: str | None, fits: bool
) -> None:
    assert limits.fit(task_type, values) == fits


def test_what_fits_is_the_same_object(limits: KeyedLimits) -> None:
    values = '{"key":1,"other":2}'
    task = new_task(1, task_type="two", limit_values=values, payload="is not read")
    assert limits.placed(task) is task


def test_values_that_are_missing_are_found(limits: KeyedLimits) -> None:
    task = new_task(1, task_type="two", limit_values='{"key":1}', payload='{"key":5,"other":6}')
    values = '{"key":1,"other":6}'
    there = replace(task, limit_values=values, lane=lane_of("default", values))
    assert limits.placed(task) == there


def test_a_lane_of_another_version_is_closed_until_it_is_moved() -> None:
    world = ClaimWorld()
    world.declare(info("a"))
    world.add("a", "x")
    world.declare(info("a", ORDER))
    assert world.lanes.open_work(["a"]) == {}
    assert world.move()
    assert world.lanes.open_work(["a"]) == {"a": 1}
    world.add("a", "y", infos={})
    assert world.lanes.open_work(["a"]) == {"a": 1}
    while world.move():
        pass
    assert world.lanes.open_work(["a"]) == {"a": 2}
