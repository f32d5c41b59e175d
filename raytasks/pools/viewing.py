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


def pool_views(
    version: HandlersVersion | None,
    runners: Iterable[PooledRunner],
    bounds: Mapping[str, PoolBounds],
    settings: Mapping[str, PoolSetting],
    failures: StartFailures,
) -> list[PoolView]:
    """Return the pools of the present version, and others that still have runners or a setting.

    `bounds` has the bounds of each pool, as it was last looked after. `settings` has what people
    have set, by pool.
    """
    pools = declared_pools(() if version is None else version.handlers)
    mine: dict[str, list[PooledRunner]] = {name: [] for name in (*pools, *settings)}
    for runner in runners:
        mine.setdefault(runner.pool, []).append(runner)
    return [
        _view(
            name, pools.get(name), members, bounds.get(name), settings.get(name),
            failures.failing(name),
        )
        for name, members in sorted(mine.items())
    ]  # fmt: skip


def _view(
    name: str,
    pool: DeclaredPool | None,
    runners: list[PooledRunner],
    bounds: PoolBounds | None,
    setting: PoolSetting | None,
    failing: FailingStart | None,
) -> PoolView:
    least, most = (None, None) if bounds is None else bounds.in_force
    has_sizes = bounds is not None and pool is not None and not pool.is_remote
    return PoolView(
        name=name,
        task_types=() if pool is None else pool.task_types,
        min_runners=least,
        max_runners=most,
        declared=bounds.declared if bounds is not None and has_sizes else None,
        setting=setting,
        resources={} if pool is None else reserves(pool, basic=False),
        runners=tuple(
            _place(runner, pool) for runner in sorted(runners, key=lambda item: item.slot)
        ),
        failing=failing,
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
    )
