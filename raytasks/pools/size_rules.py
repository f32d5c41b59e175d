"""The bounds of a pool: declared, or set by a person; and when its runners leave."""

import asyncio
import math
from dataclasses import dataclass

import ray

from raytasks.model.steering import PoolSetting
from raytasks.pools.declared_pools import DeclaredPool
from raytasks.runner.sizing import SizeRule
from raytasks.settings import Settings

_START_SECONDS = 30.0
_CROWDED_IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class PoolBounds:
    """The least and the most runners of a pool, as declared, and as a person has set them.

    A person cannot set those of the pool of remote tasks.
    """

    declared: tuple[int, int]
    setting: PoolSetting | None = None

    @property
    def in_force(self) -> tuple[int, int]:
        """The bounds that hold."""
        return self.declared if self.setting is None else (self.setting.least, self.setting.most)


async def bounds_of(
    pool: DeclaredPool, settings: Settings, setting: PoolSetting | None
) -> PoolBounds:
    """Return the bounds of a pool. `setting` is what a person has set for it."""
    least, most = pool.bounds(settings)
    if most is None:
        resources = await asyncio.to_thread(ray.cluster_resources)
        most = int(resources.get("CPU", 1))
    return PoolBounds((least, max(1, least, most)), None if pool.is_remote else setting)


def size_rule(pool: DeclaredPool, bounds: PoolBounds, idle_limit: float) -> SizeRule:
    """Return the rule for the size of a pool."""
    least, most = bounds.in_force
    return SizeRule(least, most, idle_limit, _START_SECONDS, spare=pool.keeps_spare)


async def idle_limit_of(settings: Settings, *, all_basic: bool) -> float:
    """Return how many seconds a runner beyond its pool's minimum may be idle.

    Such a runner reserves a processor. If no processor is free, the time is shorter, as a remote
    task may wait for it. With `all_basic` there is no such runner.
    """
    if all_basic:
        return settings.runner_idle_seconds
    available = await asyncio.to_thread(ray.available_resources)
    crowded = available.get("CPU", 0.0) < 1
    return min(settings.runner_idle_seconds, _CROWDED_IDLE_SECONDS if crowded else math.inf)
