"""The making of queues: their pool, their shares, and whether they are paused."""

from collections.abc import Callable, Mapping

from raytasks.model.steering import Steering
from raytasks.model.tasks import HandlerInfo
from raytasks.tracker.fairness import PoolTurns, SpaceShare, TypeShare
from raytasks.tracker.lane_queues import LaneQueue, TypeLanes

UNKNOWN_POOL = ""
"""The pool of the types that no version in force has."""


class QueueMaker:
    """Makes queues by what handlers declare and people have set, and knows the pools' turns.

    `clock` returns seconds since the epoch. See `PoolTurns` for `on_contest`.
    """

    def __init__(self, clock: Callable[[], float], on_contest: Callable[[], None]) -> None:
        self._clock = clock
        self._on_contest = on_contest
        self.infos: Mapping[str, HandlerInfo] = {}
        self.steering = Steering()
        self.pools: dict[str, PoolTurns] = {}

    def steer(self, steering: Steering) -> None:
        """Put the weights of namespaces in force that people have set."""
        self.steering = steering
        for pool in self.pools.values():
            for space in pool.spaces.values():
                space.weight = steering.weight_of(space.namespace)

    def make(self, kind: TypeLanes, namespace: str) -> LaneQueue:
        """Return a new queue of a type and a namespace."""
        info = self.infos.get(kind.name)
        name = UNKNOWN_POOL if info is None else info.pool
        pool = self.pools.get(name)
        if pool is None:
            pool = self.pools[name] = PoolTurns(name, self._on_contest)
        space = pool.spaces.get(namespace)
        if space is None:
            weight = self.steering.weight_of(namespace)
            space = pool.spaces[namespace] = SpaceShare(namespace, weight)
        weight = 1.0 if info is None else info.weight
        share = TypeShare(None, pool, space, weight, 1 if info is None else _slots_of(info))
        pause = self.steering.pause_of(namespace, kind.name, self._clock())
        return LaneQueue(kind, namespace, share, pause is not None)


def _slots_of(info: HandlerInfo) -> int:
    """Return how many attempts of a type fit in one runner."""
    return info.concurrency * (1 if info.batch is None else info.batch.size)
