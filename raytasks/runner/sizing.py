"""How many runners a pool should have: a pure rule."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PoolState:
    """A pool as it is now. `busy` runners hold attempts; `starting` ones were not heard of yet.

    `waiting` says whether tasks of the pool's types wait, `idle_seconds` for how long each of the
    idle runners has had nothing to do, and `starting_seconds` likewise for those that start.
    """

    waiting: bool
    busy: int
    starting_seconds: tuple[float, ...]
    idle_seconds: tuple[float, ...]


@dataclass(frozen=True)
class SizeRule:
    """How a pool is to be sized, whatever the load: from `least` to `most` runners.

    With a `spare`, a runner that has nothing to do is kept ready beside the busy ones: it takes
    over at once when one of them has to be ended. A runner beyond that leaves when it has been
    idle for longer than the limit, and one that cannot be placed when nothing waits for it.
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
