"""The pools as data: made from the version in force, the runners' actors, and the pools' bounds."""

import time
from collections.abc import Iterable, Mapping

from raytasks.model.steering import PoolSetting
from raytasks.pools.cluster_view import FailingStart, PoolView, RunnerPlace, Stage
from raytasks.pools.declared_pools import DeclaredPool, declared_pools
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.make_room import reserves
from raytasks.pools.roster import PooledRunner
from raytasks.pools.size_rules import PoolBounds
from raytasks.pools.start_failures import StartFailures
from raytasks.runner.on_ray.ray_options import selectors_of


def pool_views(
    version: HandlersVersion | None,
    runners: Iterable[PooledRunner],
    declared: Mapping[str, tuple[int, int]],
    settings: Mapping[str, PoolSetting],
    failures: StartFailures,
) -> list[PoolView]:
    """Return the pools of the present version, and those of earlier ones that still have runners.

    `declared` has the declared bounds of each pool, as it was last looked after. `settings` has
    what people have set, by pool.
    """
    pools = declared_pools(() if version is None else version.all_handlers)
    mine: dict[str, list[PooledRunner]] = {name: [] for name in pools}
    for runner in runners:
        mine.setdefault(runner.pool, []).append(runner)
    bounds = {name: PoolBounds(sizes, settings.get(name)) for name, sizes in declared.items()}
    return [
        _view(name, pools.get(name), members, bounds.get(name), failures.failing(name))
        for name, members in sorted(mine.items())
    ]


def _view(
    name: str,
    pool: DeclaredPool | None,
    runners: list[PooledRunner],
    bounds: PoolBounds | None,
    failing: FailingStart | None,
) -> PoolView:
    if pool is None or bounds is None:
        least, most, declared = None, None, None
    else:
        (least, most), declared = bounds.in_force, bounds.declared
    return PoolView(
        name=name,
        task_types=() if pool is None else pool.task_types,
        min_runners=least,
        max_runners=most,
        resources={} if pool is None else reserves(pool, basic=False),
        runners=tuple(
            _place(runner, pool) for runner in sorted(runners, key=lambda item: item.slot)
        ),
        failing=failing,
        declared=None if pool is None or pool.is_remote else declared,
    )


def _place(runner: PooledRunner, pool: DeclaredPool | None) -> RunnerPlace:
    if runner.retiring_since is not None:
        stage, since = Stage.LEAVING, runner.retiring_since
    else:
        stage, since = (Stage.UP if runner.up else Stage.STARTING), runner.active_at
    return RunnerPlace(
        name=runner.name,
        stage=stage,
        seconds=max(0.0, time.monotonic() - since),
        placed=runner.alive or runner.up,
        resources={} if pool is None else reserves(pool, basic=runner.basic),
        selectors=() if pool is None else selectors_of(pool.ray_options),
    )
