"""How many runners a pool should have."""

import pytest

from raytasks.runner.sizing import PoolState, change_of_size


@pytest.mark.parametrize(
    ("waiting", "busy", "starting", "idle", "change"),
    [
        (False, 0, 0, (), 1),  # the least is always there
        (True, 1, 0, (), 1),  # all are busy, and tasks wait
        (True, 1, 1, (), 0),  # one is on its way already
        (True, 1, 0, (0.1,), 0),  # one is free, and will take them
        (True, 3, 0, (), 0),  # the most
        (False, 1, 0, (5.0,), 0),  # idle, but not for long
        (False, 1, 0, (31.0,), -1),
        (False, 0, 0, (31.0, 32.0, 33.0), -2),  # down to the least
        (False, 0, 0, (31.0,), 0),
        (False, 2, 0, (1.0, 1.0), -1),  # more than the most: the setting has changed
        (False, 4, 0, (), 0),  # those that are busy are not ended
    ],
)
def test_change_of_size(
    waiting: bool, busy: int, starting: int, idle: tuple[float, ...], change: int
) -> None:
    pool = PoolState(waiting=waiting, busy=busy, starting=starting, idle_seconds=idle)
    assert change_of_size(pool, least=1, most=3, idle_limit_seconds=30) == change
