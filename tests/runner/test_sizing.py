"""How many runners a pool should have."""

import math

import pytest

from raytasks.runner.sizing import (
    START_SECONDS,
    PeakWindow,
    PoolState,
    RunnerLoad,
    SizeRule,
    SlotPlan,
    SlotUse,
    StartTimes,
    TypeWork,
    change_of_size,
    missing_runners,
)

SERIAL = SlotPlan()


@pytest.mark.parametrize(
    ("waiting", "busy", "starting", "idle", "missing", "change"),
    [
        (False, 0, (), (), 0, 1),  # the least is always there
        (True, 1, (), (), 1, 1),  # all are busy, and tasks wait
        (True, 1, (), (), 2, 2),  # at once, not one by one
        (True, 1, (), (), 99, 2),  # at most the most
        (True, 0, (), (), 3, 3),
        (True, 1, (0.1,), (), 0, 0),  # one is on its way already
        (True, 1, (0.1,), (), 1, 1),  # but one is not enough
        (True, 1, (99.0,), (), 0, 0),  # it takes long, but tasks wait for it
        (False, 1, (99.0,), (), 0, -1),  # it cannot be placed, and nothing waits for it
        (False, 0, (99.0,), (), 0, 0),  # the least is not given up
        (True, 1, (), (0.1,), 0, 0),  # one is free, and will take them
        (True, 3, (), (), 9, 0),  # the most
        (False, 1, (), (5.0,), 0, 0),  # idle, but not for long
        (False, 1, (), (31.0,), 0, -1),
        (False, 0, (), (31.0, 32.0, 33.0), 0, -2),  # down to the least
        (False, 0, (), (31.0,), 0, 0),
        (True, 0, (), (31.0, 31.0), 0, 0),  # tasks have just come
        (False, 2, (), (1.0, 1.0), 0, -1),  # more than the most: the setting has changed
        (True, 4, (), (), 9, -1),  # a busy one takes no more, and leaves when it has ended
    ],
)
def test_change_of_size(
    waiting: bool,
    busy: int,
    starting: tuple[float, ...],
    idle: tuple[float, ...],
    missing: int,
    change: int,
) -> None:
    rule = SizeRule(least=1, most=3, idle_limit_seconds=30, start_limit_seconds=60)
    assert change_of_size(PoolState(waiting, busy, starting, idle, missing), rule) == change


@pytest.mark.parametrize(
    ("busy", "idle", "change"),
    [
        (0, (), 1),
        (0, (99.0,), 0),
        (1, (), 1),  # one more is kept ready
        (1, (99.0,), 0),
        (1, (99.0, 99.0), -1),
        (0, (99.0, 99.0), -1),  # nothing runs: the least is enough
        (3, (), 0),
    ],
)
def test_a_spare_is_kept_beside_the_busy_ones(
    busy: int, idle: tuple[float, ...], change: int
) -> None:
    rule = SizeRule(1, 3, idle_limit_seconds=30, start_limit_seconds=60, spare=True)
    assert change_of_size(PoolState(False, busy, (), idle), rule) == change


@pytest.mark.parametrize(
    ("waiting", "busy", "starting", "idle", "change"),
    [
        (False, 0, (), (), 0),  # nothing to do, nobody there
        (True, 0, (), (), 1),  # the first task starts the first runner
        (True, 0, (0.3,), (), 0),
        (False, 0, (), (1.0,), 0),
        (False, 0, (), (31.0, 31.0), -2),  # down to none
        (False, 0, (31.0,), (), 0),
        (False, 0, (61.0,), (), -1),  # what it was started for has gone
    ],
)
def test_a_pool_of_none_or_more(
    waiting: bool, busy: int, starting: tuple[float, ...], idle: tuple[float, ...], change: int
) -> None:
    rule = SizeRule(0, 3, idle_limit_seconds=30, start_limit_seconds=60)
    assert change_of_size(PoolState(waiting, busy, starting, idle), rule) == change


@pytest.mark.parametrize(
    ("peak", "busy", "idle", "spare", "change"),
    [
        (None, 1, (0.1, 0.1, 0.1), False, 0),
        (4, 1, (0.1, 0.1, 0.1), False, 0),
        (2, 1, (0.1, 0.1, 0.1), False, -2),  # each had something to do, and two are enough
        (2, 1, (0.1, 0.1, 0.1), True, -1),
        (0, 0, (0.1, 0.1, 0.1), True, -1),  # one of them had something to do
        (0, 0, (31.0, 31.0, 31.0), True, -2),
        (3, 3, (0.1,), False, -1),  # busy ones stay
    ],
)
def test_what_was_not_needed_for_a_while_leaves(
    peak: int | None, busy: int, idle: tuple[float, ...], spare: bool, change: int
) -> None:
    rule = SizeRule(1, 9, 30.0, 60.0, spare)
    assert change_of_size(PoolState(False, busy, (), idle, peak=peak), rule) == change


@pytest.mark.parametrize(
    ("open_tasks", "seconds", "loads", "missing"),
    [
        (0, 1.0, [], 0),
        (1, 1.0, [], 1),
        (1, 0.001, [], 1),
        (20, 60.0, [], 20),  # long ones: one runner each
        (20, 1.0, [], 7),  # each new one begins three of them in its two seconds
        (20, None, [], 2),  # as if they took a fifth of a second
        (50, 0.05, [RunnerLoad()], 0),  # a short burst, done before a new runner would be there
        (100_000, 0.001, [RunnerLoad()], 48),
        (3, 60.0, [RunnerLoad(), RunnerLoad()], 1),
        (3, 60.0, [RunnerLoad([SlotUse("t", 59.0)]), RunnerLoad()], 1),  # one ends in a second
        (3, 60.0, [RunnerLoad([SlotUse("t", 5.0)]), RunnerLoad()], 2),
        (3, 60.0, [RunnerLoad([SlotUse("t", 90.0)]), RunnerLoad()], 2),  # it is 30 s late already
        (3, None, [RunnerLoad([SlotUse("t", 90.0)])], 3),  # none has ended: they seem to be long
        (3, 60.0, [RunnerLoad(ready_in=1.0), RunnerLoad(ready_in=math.inf)], 2),
        (3, 0.1, [RunnerLoad([SlotUse("t", 0.0)] * 60)], 1),  # what is queued runs one by one
    ],
)
def test_missing_runners(
    open_tasks: int, seconds: float | None, loads: list[RunnerLoad], missing: int
) -> None:
    assert missing_runners({"t": TypeWork(open_tasks, seconds)}, SERIAL, loads) == missing


@pytest.mark.parametrize(
    ("open_tasks", "other", "loads", "missing"),
    [
        (1, 0, [], 1),
        (100, 0, [], 1),  # a hundred slots
        (101, 0, [], 2),
        (100, 5, [], 5),  # each type has slots of its own
        (100, 0, [RunnerLoad()], 0),
        (100, 0, [RunnerLoad([SlotUse("wide", 1.0)] * 40)], 1),
        (60, 0, [RunnerLoad([SlotUse("wide", 1.0)] * 40)], 0),
        (60, 0, [RunnerLoad([SlotUse("wide", 1.0)] * 4, more=10.0)], 0),
        (61, 0, [RunnerLoad([SlotUse("wide", 1.0)] * 4, more=10.0)], 1),
        (100, 0, [RunnerLoad([SlotUse("narrow", 1.0)])], 0),
        (0, 1, [RunnerLoad([SlotUse("narrow", 1.0)])], 1),
    ],
)
def test_missing_runners_with_slots(
    open_tasks: int, other: int, loads: list[RunnerLoad], missing: int
) -> None:
    work = {"wide": TypeWork(open_tasks, 60.0), "narrow": TypeWork(other, 60.0)}
    plan = SlotPlan({"wide": 100, "narrow": 1})
    assert missing_runners(work, plan, loads) == missing


LONG = RunnerLoad([SlotUse("wide", 1.0)])
SUSPECTS = RunnerLoad([SlotUse("wide", 1.0)], apart=True)


@pytest.mark.parametrize(
    ("open_tasks", "apart", "loads", "missing"),
    [
        (1, 1.0, [LONG], 1),
        (1, 1.0, [LONG, RunnerLoad()], 0),
        (1, 1.0, [RunnerLoad([SlotUse("wide", 59.0)])], 0),  # it is empty in a second
        (1, 1.0, [LONG, RunnerLoad(ready_in=1.0)], 0),  # one is on its way
        (3, 3.0, [LONG, RunnerLoad()], 2),
        (4, 0.5, [LONG], 1),  # with a company of two, or more, they share a runner
        (2, 9.0, [], 2),  # the others have gone meanwhile
        (50, 1.0, [LONG], 1),  # the one that is kept free takes them when the new one is there
        (150, 1.0, [LONG], 2),
        (50, 0.0, [SUSPECTS], 1),
        (150, 1.0, [LONG, SUSPECTS], 2),
    ],
)
def test_tasks_that_may_not_run_beside_others_need_empty_runners(
    open_tasks: int, apart: float, loads: list[RunnerLoad], missing: int
) -> None:
    work = {"wide": TypeWork(open_tasks, 60.0, apart)}
    assert missing_runners(work, SlotPlan({"wide": 100}), loads) == missing


def test_a_slow_start_needs_more_work_to_be_worth_it() -> None:
    work = {"t": TypeWork(25, 1.0)}
    assert missing_runners(work, SERIAL, [RunnerLoad()], 2.0) == 7
    assert missing_runners(work, SERIAL, [RunnerLoad()], 25.0) == 0


def test_the_peak_is_known_after_the_whole_time() -> None:
    window = PeakWindow()
    assert [window.add(at, needed, 10.0) for at, needed in ((0, 5), (4, 1), (9.9, 2))] == [None] * 3
    assert window.add(10.0, 1, 10.0) == 5
    assert window.add(13.9, 1, 10.0) == 5
    assert window.add(14.0, 1, 10.0) == 2
    assert window.add(60.0, 0, 10.0) == 1


def test_measured_starts() -> None:
    times = StartTimes()
    assert times.get("p") == START_SECONDS
    for measured, taken in ((0.1, START_SECONDS), (12.0, 12.0), (600.0, 30.0)):
        times.add("p", measured)
        assert times.get("p") == taken
    assert times.get("other") == START_SECONDS
