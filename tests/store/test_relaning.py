"""Waiting tasks get the lanes that a new version's keyed limits give them, step by step."""

import pytest

from raytasks.model.controls import Limit
from raytasks.model.lane_names import lane_of, limit_values_again
from raytasks.model.limit_places import LimitPlaces
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import Running
from raytasks.protocol.queries import TasksById
from raytasks.store import relaning
from raytasks.store.relaning import LaneCursor, RelaneResult, RelaneStep
from raytasks.store.store import Store
from raytasks.store.transaction import Superseded
from raytasks.tracker.renewing import Renewal
from tests.lanes import KnownLanes
from tests.making import NOW, Tracking, outcome, task_id

LIMITS = (Limit("customer", running=2, by="/account"),)


def compute(payload: str, known: str | None) -> str | None:
    return limit_values_again(payload, known, LIMITS)


def all_steps(tracking: Tracking) -> list[RelaneResult]:
    steps: list[RelaneResult] = []
    cursor = LaneCursor()
    while True:
        step = tracking.store.relane_step(
            tracking.epoch, tracking.now, RelaneStep("short", cursor, compute)
        )
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
        step = RelaneStep("short", LaneCursor(), compute, (plain, "none"))
        steps.append(tracking.store.relane_step(tracking.epoch, tracking.now, step))
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


PLACES = LimitPlaces({"customer": "/account"}, {"customer": ["/id", "/old"]}, NOW)


def test_the_places_are_stored_by_the_first_and_the_last_step(tracking: Tracking) -> None:
    store, cursor = tracking.store, LaneCursor()
    known: list[LimitPlaces] = []
    assert store.lanes_and_places()[1] == {}
    while not known or not known[-1].moved:
        step = RelaneStep("short", cursor, compute, places=PLACES)
        done = store.relane_step(tracking.epoch, tracking.now, step)
        cursor = done.cursor or cursor
        known.append(store.lanes_and_places()[1]["short"])
    assert known == [*([PLACES] * (len(known) - 1)), PLACES._replace(moved=True)]
    assert len(known) > 2
    others = LimitPlaces({}, {}, NOW + 1)
    step = RelaneStep("none", LaneCursor(), compute, places=others)
    store.relane_step(tracking.epoch, tracking.now, step)
    step = RelaneStep("short", LaneCursor(), compute, places=others)
    store.relane_step(tracking.epoch, tracking.now, step)
    assert store.lanes_and_places()[1] == {"none": others._replace(moved=True), "short": others}


def test_a_tracker_that_was_replaced_stores_no_places(tracking: Tracking) -> None:
    tracking.store.begin_epoch(NOW)
    step = RelaneStep("none", LaneCursor(), compute, places=PLACES)
    with pytest.raises(Superseded):
        tracking.store.relane_step(tracking.epoch, tracking.now, step)
    assert tracking.store.lanes_and_places()[1] == {}


def test_what_waits_again_in_a_tick_gets_its_values(tracking: Tracking) -> None:
    released, failed = tracking.claim(capacity=2)
    known = KnownLanes(tracking.store.lanes())
    tracking.ready_changes.clear()
    renewals = {"short": Renewal(tracking.now, compute)}
    ends = [
        (released, outcome(released, OutcomeKind.RELEASED)),
        (failed, outcome(failed, OutcomeKind.FAILED, retryable=False)),
    ]
    tracking.tick(outcomes=ends, renewals=renewals)
    stored = tracking.store.read(TasksById([released.task_id, failed.task_id]))
    assert stored[released.task_id].limit_values is not None
    assert stored[failed.task_id].limit_values is None, "it has ended"
    done = tracking.tick(retries=[failed.task_id], renewals=renewals)
    after = done.acted.after[failed.task_id]
    assert after.limit_values is not None
    assert tracking.store.read(TasksById([failed.task_id]))[failed.task_id] == after
    known.apply(tracking.ready_changes)
    known.check(tracking.store.lanes())


def test_what_was_claimed_since_keeps_its_values(tracking: Tracking) -> None:
    tracking.now += 1
    [running] = tracking.claim(capacity=1)
    ends = [(running, outcome(running, OutcomeKind.RELEASED))]
    tracking.tick(outcomes=ends, renewals={"short": Renewal(tracking.now - 1, compute)})
    found = tracking.store.read(TasksById([running.task_id]))
    assert found[running.task_id].limit_values is None
