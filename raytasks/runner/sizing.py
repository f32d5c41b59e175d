"""The rule for the size of a pool: how many runners it should have. A pure function."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PoolState:
    """A pool as it is now.

    - `waiting`: whether tasks of the pool's types wait.
    - `busy`: how many runners hold attempts.
    - `starting_seconds`: for each runner that was not heard of yet, the time since its start.
    - `idle_seconds`: for each idle runner, the time since it last had something to do.
    """

    waiting: bool
    busy: int
    starting_seconds: tuple[float, ...]
    idle_seconds: tuple[float, ...]


@dataclass(frozen=True)
class SizeRule:
    """The bounds of a pool, from `least` to `most` runners, and when it shrinks.

    With `spare`, an idle runner is kept ready beside the busy ones: it takes over at once when one
    of them has to be ended. Another runner leaves when it has been idle longer than
    `idle_limit_seconds`. One that has not started within `start_limit_seconds` leaves too, unless
    tasks wait for it.
    """

    least: int
    most: int
    idle_limit_seconds: float
    start_limit_seconds: float
    spare: bool = False


def change_of_size(pool: PoolState, rule: SizeRule) -> int:
    """Return how many runners to add (positive) or to remove (negative).

    A pool grows by one at a time, while tasks wait and all of its runners are busy.
    """
    starting, idle = len(pool.starting_seconds), len(pool.idle_seconds)
    size = pool.busy + starting + idle
    if size < rule.least:
        return rule.least - size
    if size > rule.most:
        return -min(size - rule.most, starting + idle)
    needed = pool.waiting or (rule.spare and pool.busy > 0)
    if needed and not idle and not starting and size < rule.most:
        return 1
    tired = sum(seconds > rule.idle_limit_seconds for seconds in pool.idle_seconds)
    if not pool.waiting:
        tired += sum(seconds > rule.start_limit_seconds for seconds in pool.starting_seconds)
    kept = pool.busy + 1 if rule.spare and pool.busy else 0
    return -max(0, min(tired, size - max(rule.least, kept)))
