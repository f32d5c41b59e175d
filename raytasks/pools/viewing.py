"""The pools as data: made from the version in force, the runners' actors, and the pools' bounds."""

import time
from collections.abc import Iterable, Mapping

from raytasks.model.tasks import HandlerInfo
from raytasks.pools.cluster_view import PoolView, RunnerPlace, Stage
from raytasks.pools.handlers_version import HandlersVersion
from raytasks.pools.make_room import reserves
from raytasks.pools.roster import PooledRunner
from raytasks.pools.start_failures import StartFailures
from raytasks.runner.sizing import SizeRule


def pool_views(
    version: HandlersVersion | None,
    runners: Iterable[PooledRunner],
    sizes: Mapping[str, SizeRule],
    failures: StartFailures,
) -> list[PoolView]:
    """Return the pools of the present version, and those of earlier ones that still have runners.

    `sizes` has the bounds of each pool, as it was last looked after.
    """
    infos: dict[str, list[HandlerInfo]] = {}
    for info in () if version is None else version.handlers:
        infos.setdefault(info.pool, []).append(info)
    mine: dict[str, list[PooledRunner]] = {name: [] for name in infos}
    for runner in runners:
        mine.setdefault(runner.pool, []).append(runner)
    return [
        _view(name, infos.get(name, []), members, sizes.get(name), failures)
        for name, members in sorted(mine.items())
    ]


def _view(
    name: str,
    infos: list[HandlerInfo],
    runners: list[PooledRunner],
    rule: SizeRule | None,
    failures: StartFailures,
) -> PoolView:
    return PoolView(
        name=name,
        task_types=tuple(info.task_type for info in infos),
        min_runners=None if rule is None else rule.least,
        max_runners=None if rule is None else rule.most,
        resources=reserves(infos[0], basic=False) if infos else {},
        runners=tuple(
            _place(runner, infos) for runner in sorted(runners, key=lambda item: item.slot)
        ),
        failing=failures.failing(name),
    )


def _place(runner: PooledRunner, infos: list[HandlerInfo]) -> RunnerPlace:
    if runner.retiring_since is not None:
        stage, since = Stage.LEAVING, runner.retiring_since
    else:
        stage, since = (Stage.UP if runner.up else Stage.STARTING), runner.active_at
    return RunnerPlace(
        name=runner.name,
        stage=stage,
        seconds=max(0.0, time.monotonic() - since),
        placed=runner.alive or runner.up,
        resources=reserves(infos[0], basic=runner.basic) if infos else {},
    )
