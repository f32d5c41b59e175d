"""How many runners a pool should have: a pure rule."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PoolState:
    """A pool as it is now. `busy` runners hold attempts; `starting` ones were not heard of yet.

    `waiting` says whether tasks of the pool's types wait, `idle_seconds` for how long each of the
    idle runners has had nothing to do.
    """

    waiting: bool
    busy: int
    starting: int
    idle_seconds: tuple[float, ...]


def change_of_size(pool: PoolState, *, least: int, most: int, idle_limit_seconds: float) -> int:
    """Return how many runners to add (positive) or to remove (negative).

    A pool grows by one at a time, while tasks wait and all of its runners are busy; it shrinks by
    those that have been idle for too long. `least` and `most` hold whatever else is the case.
    """
    size = pool.busy + pool.starting + len(pool.idle_seconds)
    if size < least:
        return least - size
    if size > most:
        return -min(size - most, len(pool.idle_seconds))
    if pool.waiting and not pool.idle_seconds and not pool.starting and size < most:
        return 1
    tired = sum(1 for seconds in pool.idle_seconds if seconds > idle_limit_seconds)
    return -min(tired, size - least)
