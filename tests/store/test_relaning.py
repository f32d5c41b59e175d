"""Waiting tasks get the lanes that a new version's keyed limits give them, step by step."""

import pytest

from raytasks.model.controls import Limit
from raytasks.model.lane_names import lane_of, limit_values_again
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import Running
from raytasks.store import relaning
from raytasks.store.relaning import LaneCursor, RelaneResult
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from tests.lanes import KnownLanes
from tests.making import NOW, Tracking, task_id

LIMITS = (Limit("customer", running=2, by="/account"),)


def compute(payload: str, known: str | None) -> str | None:
    return limit_values_again(payload, known, LIMITS)


def all_steps(tracking: Tracking) -> list[RelaneResult]:
    steps: list[RelaneResult] = []
    cursor = LaneCursor()
    while True:
        step = tracking.store.relane_step(tracking.epoch, tracking.now, "short", cursor, compute)
        if step.cursor is None:
            return steps
        steps.append(step)
        cursor = step.cursor


@pytest.fixture
def tracking(store: Store, monkeypatch: pytest.MonkeyPatch) -> Tracking:
    """Ten tasks of two customers in two namespaces, in the lanes of a version without limits."""
    monkeypatch.setattr(relaning, "STEP", 3)
    tracking = Tracking(store)
    for number in range(10):
        namespace = "team-a" if number % 3 == 0 else "default"
        tracking.submit(
            number,
            payload=f'{{"account":"c{number % 2}"}}',
            namespace=namespace,
            lane=lane_of(namespace, None),
            run_at=NOW + (50 if number == 5 else 0),
        )
    tracking.submit(20, task_type="long", payload='{"account":"c0"}')
    return tracking


def test_all_waiting_tasks_of_the_type_are_moved(tracking: Tracking) -> None:
    known = KnownLanes(tracking.store.lanes())
    steps = all_steps(tracking)
    assert max(step.looked_at for step in steps) == 3
    assert sum(step.looked_at for step in steps) == sum(step.changed for step in steps) == 10
    for step in steps:
        known.apply(step.ready_changes)
    rows = tracking.store.lanes()
    known.check(rows)
    found = {(row.task_type, row.namespace, row.limit_values): row.waiting for row in rows}
    assert found == {
        ("short", "default", '{"customer":"c0"}'): 3,
        ("short", "default", '{"customer":"c1"}'): 2,  # and one that is not due
        ("short", "team-a", '{"customer":"c0"}'): 2,
        ("short", "team-a", '{"customer":"c1"}'): 2,
        ("long", "default", None): 1,
    }
    assert all(row.lane == lane_of(row.namespace, row.limit_values) for row in rows)
    assert [step.changed for step in all_steps(tracking)] == [0] * len(steps)
    tracking.now += 60
    tracking.tick(promote=True)
    late = lane_of("default", '{"customer":"c1"}')
    assert {row.lane: row.waiting for row in tracking.store.lanes()}[late] == 3


@pytest.mark.parametrize("payload", ['{"account":[1]}', '{"account":1.5}', "[]", "null"])
def test_a_payload_without_a_usable_value_has_null(tracking: Tracking, payload: str) -> None:
    tracking.submit(30, payload=payload)
    all_steps(tracking)
    values = '{"customer":null}'
    [row] = [row for row in tracking.store.lanes() if row.limit_values == values]
    assert (row.waiting, row.lane) == (1, lane_of("default", values))


def test_values_that_are_known_stay(tracking: Tracking) -> None:
    given = '{"customer":"given","old":7}'
    lane = lane_of("default", given)
    tracking.submit(30, payload='{"account":"c9"}', limit_values=given, lane=lane)
    all_steps(tracking)
    found = {row.limit_values: row.waiting for row in tracking.store.lanes()}
    assert found['{"customer":"given"}'] == 1
    assert given not in found


def test_what_runs_keeps_its_lane_and_a_retry_waits_in_it(tracking: Tracking) -> None:
    running: list[Running] = tracking.claim(capacity=1)
    before = tracking.store.running()
    all_steps(tracking)
    assert tracking.store.running() == before == running
    tracking.ready_changes.clear()
    tracking.settle(running[0], OutcomeKind.RELEASED)
    [change] = tracking.ready_changes
    assert (change.lane, change.change) == (running[0].lane, 1)


def test_few_bytes_are_read_at_once(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relaning, "STEP_BYTES", 4)
    assert [step.looked_at for step in all_steps(tracking)] == [1] * 10


def test_a_tracker_that_was_replaced_moves_nothing(tracking: Tracking) -> None:
    tracking.store.begin_epoch(NOW)
    with pytest.raises(Superseded):
        all_steps(tracking)
    assert {row.limit_values for row in tracking.store.lanes()} == {None}
    assert tracking.task(0).task_id == task_id(0)


def test_ready_tasks_of_some_lanes_are_moved(tracking: Tracking) -> None:
    known = KnownLanes(tracking.store.lanes())
    plain = lane_of("default", None)
    steps: list[RelaneResult] = []
    while not steps or steps[-1].changed:
        steps.append(
            tracking.store.relane_step(
                *(tracking.epoch, tracking.now, "short", LaneCursor(), compute), [plain, "none"]
            )
        )
        known.apply(steps[-1].ready_changes)
    assert [step.changed for step in steps] == [3, 2, 0]
    assert all(step.cursor is None for step in steps)
    rows = tracking.store.lanes()
    known.check(rows)
    found = {(row.task_type, row.namespace, row.limit_values): row.waiting for row in rows}
    assert found == {
        ("short", "default", '{"customer":"c0"}'): 3,
        ("short", "default", '{"customer":"c1"}'): 2,
        ("short", "team-a", None): 4,
        ("long", "default", None): 1,
    }
