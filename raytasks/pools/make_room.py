"""The pools' part in making room for what waits in Ray; the rule is in `raytasks.runner.demand`."""

import asyncio
from collections.abc import Mapping, Sequence

from raytasks.pools.declared_pools import DeclaredPool
from raytasks.pools.roster import PooledRunner, RunnerView
from raytasks.runner.demand import Holder, RoomPlan, make_room
from raytasks.runner.on_ray.nodes import nodes_now
from raytasks.runner.on_ray.ray_options import needs_of


def reserves(pool: DeclaredPool, *, basic: bool) -> dict[str, float]:
    """Return the resources that a warm runner of a pool reserves, by Ray's names."""
    return needs_of({"num_cpus": 0 if basic else 1, **pool.ray_options})


async def plan_room(
    pools: Mapping[str, DeclaredPool],
    least: Mapping[str, int],
    runners: Sequence[PooledRunner],
    states: Mapping[str, RunnerView],
) -> RoomPlan:
    """Return which runners the pools are to retire for what waits in Ray.

    `least` has the number of runners that each pool keeps. `states` has the tracker's states of the
    runners, by name.
    """
    demands = [demand for state in states.values() for demand in state.demands]
    if not demands:
        return RoomPlan()
    holders = [
        _holder(runner, held, states.get(runner.name))
        for runner in sorted(runners, key=lambda runner: -runner.slot)
        if runner.pool in pools and runner.slot > least[runner.pool]
        if (held := reserves(pools[runner.pool], basic=runner.basic))
    ]
    return make_room(demands, await asyncio.to_thread(nodes_now), holders)


def _holder(runner: PooledRunner, held: Mapping[str, float], state: RunnerView | None) -> Holder:
    placed = runner.alive and state is not None
    return Holder(
        runner.name,
        state.node_id if placed and state is not None else None,
        held,
        busy=bool(state is not None and state.held),
        leaving=runner.retiring_since is not None,
    )
