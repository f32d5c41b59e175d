"""Claims by lane, on both databases: which tasks a question finds, and which lanes there are."""

import math
from typing import Any

import pytest
from msgspec.structs import replace

from raytasks.model.lane_names import lane_of
from raytasks.model.states import OutcomeKind
from raytasks.store import candidates
from raytasks.store.lane_rows import LaneAsk, LaneRow, PutOffRow
from raytasks.store.store import Store
from raytasks.tracker.settling import settlement_of
from tests.making import NOW, Tracking, ids, lane_ask, outcome, task_id


@pytest.fixture
def tracking(store: Store) -> Tracking:
    return Tracking(store)


def submit(tracking: Tracking, number: int, value: int, **changes: Any) -> str:
    """Submit a task in the lane of a value; return the lane."""
    values = f'{{"customer":{value}}}'
    lane = lane_of("default", values)
    tracking.submit(number, lane=lane, limit_values=values, **changes)
    return lane


def found(tracking: Tracking, *asks: LaneAsk) -> list[str]:
    with tracking.store.transaction(now=tracking.now) as transaction:
        return [row.task_id for row in transaction.candidates(asks)]


def test_each_lane_gives_its_first_tasks_and_the_best_come_first(tracking: Tracking) -> None:
    for number in range(6):
        lanes = [submit(tracking, 10 * value + number, value) for value in (1, 2, 3)]
    tracking.submit(50, priority=1)
    asks = [lane_ask(2, lane=lanes[0]), lane_ask(3, lane=lanes[2]), lane_ask(9)]
    assert found(tracking, *asks) == ids([50, 10, 11, 30, 31, 32])
    assert found(tracking, lane_ask(9, lane="no such lane"), lane_ask(9, "no such type")) == []


def test_a_lane_is_read_from_its_floor_on(tracking: Tracking) -> None:
    for number in range(4):
        lane = submit(tracking, number, 1, run_at=NOW - 10 + number)
    assert found(tracking, lane_ask(2, lane=lane, floor=NOW - 8)) == ids([2, 3])
    assert found(tracking, lane_ask(9, lane=lane, floor=NOW)) == []


@pytest.mark.parametrize("number", [2, 9, 70])
def test_many_lanes_give_what_each_of_them_would_give(tracking: Tracking, number: int) -> None:
    asks = []
    for place in range(number):
        for task in range(1 + place % 4):
            at = NOW - (place * 37 + task * 11) % 50
            lane = submit(tracking, 10 * place + task, place, run_at=at)
        floor = NOW - 25 if place % 3 else -math.inf
        asks.append(lane_ask(1 + place % 3, lane=lane, floor=floor))
    with tracking.store.transaction(now=NOW) as transaction:
        together = transaction.candidates(asks)
        alone = [row for ask in asks for row in transaction.candidates([ask])]
    assert together == sorted(alone, key=lambda row: (row.rank, row.task_id))
    assert len(together) >= number / 2


@pytest.mark.parametrize("number", [1, 9])
def test_where_a_lane_goes_on_is_told_if_it_is_asked(tracking: Tracking, number: int) -> None:
    tracking.submit(500, run_at=NOW - 7)
    asks = []
    for place in range(number):
        for task, at in enumerate((NOW - 8, NOW - 8, NOW - 6)):  # two of one rank
            lane = submit(tracking, 10 * place + task, place, run_at=at)
        asks.append(lane_ask(2, lane=lane, looks_on=place % 2 == 0))
    asks.append(lane_ask(1, looks_on=True))
    with tracking.store.transaction(now=NOW) as transaction:
        rows = transaction.candidates(asks)
        [last] = transaction.candidates([lane_ask(1, lane=lane, floor=NOW - 7, looks_on=True)])
        postgres = transaction.connection.dialect.name == "postgresql"
    told = {row.task_id: row.next_rank for row in rows}
    assert told.pop(task_id(500)) is None
    assert last.next_rank is None
    for place in range(number):
        first, second, third = ids(range(10 * place, 10 * place + 3))
        looks_on = place % 2 == 0
        expected = (NOW - 8, NOW - 6) if looks_on and not postgres else (None, None)
        assert (told.pop(first), told.pop(second)) == expected
        assert (third in told) == (looks_on and postgres)
        told.pop(third, None)
    assert told == {}


def test_the_lane_and_its_values_come_with_a_task(tracking: Tracking) -> None:
    lane = submit(tracking, 1, 7)
    with tracking.store.transaction(now=NOW) as transaction:
        [row] = transaction.candidates([lane_ask(1, lane=lane)])
    assert (row.lane, row.limit_values) == (lane, '{"customer":7}')
    [running] = tracking.claim()
    assert (running.lane, running.limit_values, running.rank) == (lane, '{"customer":7}', NOW)
    assert tracking.store.running() == [running]


def test_large_questions_get_their_shares(
    tracking: Tracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "MAX_CLAIMS", 10)
    for number in range(20):
        lane = submit(tracking, number, 1)
        submit(tracking, 100 + number, 2)
    other = lane_of("default", '{"customer":2}')
    rows = found(tracking, lane_ask(30, lane=lane), lane_ask(10, lane=other))
    assert rows == ids([*range(7), 100, 101])


def test_lanes_are_those_with_ready_tasks(tracking: Tracking) -> None:
    lane = submit(tracking, 1, 1, run_at=NOW - 5)
    submit(tracking, 2, 1, priority=1)
    submit(tracking, 3, 2, run_at=NOW + 9)
    tracking.submit(4, namespace="team-a", lane=lane_of("team-a", None))
    tracking.submit(5, task_type="long")
    assert sorted(tracking.store.lanes()) == sorted(
        [
            LaneRow("short", lane, "default", '{"customer":1}', 2, NOW - 60),
            LaneRow("short", lane_of("team-a", None), "team-a", None, 1, NOW),
            LaneRow("long", "", "default", None, 1, NOW),
        ]
    )


def test_what_has_run_and_waits_for_its_time_is_put_off(tracking: Tracking) -> None:
    submit(tracking, 1, 1)
    submit(tracking, 2, 1, run_at=NOW + 5)  # has never run
    submit(tracking, 3, 1)
    snoozes, released = tracking.claim()
    tracking.settle(snoozes, OutcomeKind.SNOOZED, delay_seconds=60.0)
    tracking.settle(released, OutcomeKind.RELEASED)
    assert tracking.store.put_off(["short"]) == [
        PutOffRow(task_id(1), "short", snoozes.lane, "default", '{"customer":1}', NOW + 60)
    ]
    assert tracking.store.put_off(["long"]) == tracking.store.put_off([]) == []


def test_a_retry_may_stay_the_head_of_its_lane(tracking: Tracking, store: Store) -> None:
    lane = submit(tracking, 1, 1)
    submit(tracking, 2, 1, run_at=NOW + 1)
    [first] = tracking.claim()
    failed = outcome(first, OutcomeKind.FAILED, retryable=True, delay_seconds=30.0)
    settlement = replace(settlement_of(first, failed, 1, NOW), keeps_rank=True)
    with store.transaction(now=NOW) as transaction:
        transaction.settle([settlement])
        transaction.finish()
        assert transaction.ready_changes == []
    assert tracking.task(1).run_at == NOW + 30
    tracking.now += 31
    tracking.tick(promote=True)
    assert found(tracking, lane_ask(1, lane=lane)) == [task_id(1)]
