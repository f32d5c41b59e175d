"""The making of queues: their pool, their shares, and whether they are paused."""

from collections.abc import Callable, Collection, Iterable, Mapping

from raytasks.model.handler_info import HandlerInfo
from raytasks.model.steering import Steering
from raytasks.tracker.fairness import PoolTurns, SpaceShare, TypeShare
from raytasks.tracker.lane_queues import LaneQueue, TypeLanes

UNKNOWN_POOL = ""
"""The pool of the types that no version in force has."""

_MAX_RUNNERS = 10_000  # whose types are remembered


class QueueMaker:
    """Makes queues by what handlers declare and people have set, and knows the pools' turns.

    `clock` returns seconds since the epoch. See `PoolTurns` for `on_contest`.
    """

    def __init__(self, clock: Callable[[], float], on_contest: Callable[[], None]) -> None:
        self._clock = clock
        self._on_contest = on_contest
        self._infos: Mapping[str, HandlerInfo] = {}
        self._taken: dict[str, tuple[int, frozenset[str]]] = {}
        self.steering = Steering()
        self.pools: dict[str, PoolTurns] = {}

    def set_handlers(self, infos: Iterable[HandlerInfo]) -> None:
        """Put the pools and weights of a handlers' version in force."""
        self._infos = {info.task_type: info for info in infos}
        self._taken.clear()

    def pools_of(self, runner_id: str, task_types: Collection[str]) -> frozenset[str]:
        """Return the pools of the types that a runner takes: of an old version, or a test, several.

        It is kept as long as the runner takes as many types.
        """
        known = self._taken.get(runner_id)
        if known is None or known[0] != len(task_types):
            if len(self._taken) >= _MAX_RUNNERS:
                self._taken.clear()
            pools = frozenset(map(self._pool_of, task_types))
            known = self._taken[runner_id] = (len(task_types), pools)
        return known[1]

    def _pool_of(self, task_type: str) -> str:
        info = self._infos.get(task_type)
        return UNKNOWN_POOL if info is None else info.pool

    def steer(self, steering: Steering) -> None:
        """Put the weights of namespaces in force that people have set."""
        self.steering = steering
        for pool in self.pools.values():
            for space in pool.spaces.values():
                space.weight = steering.weight_of(space.namespace)

    def make(self, kind: TypeLanes, namespace: str) -> LaneQueue:
        """Return a new queue of a type and a namespace."""
        info, name = self._infos.get(kind.name), self._pool_of(kind.name)
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
