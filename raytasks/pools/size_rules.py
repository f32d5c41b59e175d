"""The bounds of a pool, by its handlers' kind and by the processors of the cluster."""

import asyncio
import math

import ray

from raytasks.model.tasks import HandlerInfo, HandlerKind
from raytasks.runner.sizing import SizeRule
from raytasks.settings import Settings

_START_SECONDS = 30.0
_CROWDED_IDLE_SECONDS = 2.0


async def size_rule(info: HandlerInfo, settings: Settings, idle_limit: float) -> SizeRule:
    """Return the bounds of the pool of a handler."""
    least, most = info.actors
    match info.kind:
        case HandlerKind.REMOTE:
            least = most = 1
        case HandlerKind.FUNCTION:
            least, allowed = settings.warm_runners_min, settings.warm_runners_max
            if allowed is None:
                resources = await asyncio.to_thread(ray.cluster_resources)
                allowed = int(resources.get("CPU", 1))
            most = max(1, least, allowed)
    spare = info.kind is HandlerKind.FUNCTION
    return SizeRule(least, most, idle_limit, _START_SECONDS, spare=spare)


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
