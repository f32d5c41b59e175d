"""How many runners a pool should have."""

import pytest

from raytasks.runner.sizing import PoolState, SizeRule, change_of_size


@pytest.mark.parametrize(
    ("waiting", "busy", "starting", "idle", "change"),
    [
        (False, 0, (), (), 1),  # the least is always there
        (True, 1, (), (), 1),  # all are busy, and tasks wait
        (True, 1, (0.1,), (), 0),  # one is on its way already
        (True, 1, (99.0,), (), 0),  # it takes long, but tasks wait for it
        (False, 1, (99.0,), (), -1),  # it cannot be placed, and nothing waits for it
        (False, 0, (99.0,), (), 0),  # the least is not given up
        (True, 1, (), (0.1,), 0),  # one is free, and will take them
        (True, 3, (), (), 0),  # the most
        (False, 1, (), (5.0,), 0),  # idle, but not for long
        (False, 1, (), (31.0,), -1),
        (False, 0, (), (31.0, 32.0, 33.0), -2),  # down to the least
        (False, 0, (), (31.0,), 0),
        (False, 2, (), (1.0, 1.0), -1),  # more than the most: the setting has changed
        (False, 4, (), (), 0),  # those that are busy are not ended
    ],
)
def test_change_of_size(
    waiting: bool,
    busy: int,
    starting: tuple[float, ...],
    idle: tuple[float, ...],
    change: int,
) -> None:
    rule = SizeRule(least=1, most=3, idle_limit_seconds=30, start_limit_seconds=60)
    assert change_of_size(PoolState(waiting, busy, starting, idle), rule) == change


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
