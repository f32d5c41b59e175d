"""The pools as JSON documents for people: sizes as declared, as set and in force, and backlog."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from raytasks.model.handler_info import HandlerInfo
from raytasks.model.steering import PoolSetting
from raytasks.model.time_text import rfc3339
from raytasks.pools.cluster_view import PoolView, Stage
from raytasks.pools.declared_pools import declared_pools
from raytasks.tracker.overview import BUSY, IDLE, LEAVING, STARTING, state_of
from raytasks.tracker.work_health import WorkScene


def pool_documents(
    work: WorkScene, settings: Mapping[str, PoolSetting], handlers: Iterable[HandlerInfo]
) -> list[dict[str, Any]]:
    """Return the pools with their sizes and their backlog, by name.

    `settings` has the sizes that people have set, by pool. They have no effect on a pool that no
    handler declares, and are shown.
    """
    states = _states(work)
    pools = {pool.name: pool for pool in work.outlook.pools()}
    for name, declared in declared_pools(handlers).items():
        bounds = declared.own_bounds
        pools.setdefault(name, PoolView(name, declared.task_types, declared=bounds))
    for name in settings:
        pools.setdefault(name, PoolView(name, ()))
    return [
        _document(work, pool, settings.get(name), states.get(name, Counter()))
        for name, pool in sorted(pools.items())
    ]


def _document(
    work: WorkScene, pool: PoolView, setting: PoolSetting | None, states: Counter[str]
) -> dict[str, Any]:
    oldest = [work.oldest[name] for name in pool.task_types if name in work.oldest]
    return {
        "name": pool.name,
        "task_types": sorted(pool.task_types),
        "min_runners": pool.min_runners,
        "max_runners": pool.max_runners,
        "declared": None if pool.declared is None else {"runners": list(pool.declared)},
        "override": None if setting is None else _override(setting),
        "runners": states.total(),
        "states": {state: states[state] for state in (STARTING, IDLE, BUSY, LEAVING)},
        "backlog": sum(work.waiting.get(name, 0) for name in pool.task_types),
        "oldest_due_seconds": round(max(oldest), 3) if oldest else None,
        "resources": dict(pool.resources),
        "failing": pool.failing and {"tries": pool.failing.count, "error": pool.failing.error},
    }


def _override(setting: PoolSetting) -> dict[str, Any]:
    return {
        "runners": [setting.least, setting.most],
        "changed_at": rfc3339(setting.changed_at),
        "by": setting.by,
    }


def _states(work: WorkScene) -> dict[str, Counter[str]]:
    """Return how many runners are in each state, by pool, also those that have not called."""
    found = {runner.name: (runner.pool, state_of(runner)) for runner in work.fleet if runner.name}
    for pool in work.outlook.pools():
        for place in pool.runners:
            if place.stage is Stage.LEAVING:
                found[place.name] = (pool.name, LEAVING)
            else:
                found.setdefault(place.name, (pool.name, STARTING))
    counts: dict[str, Counter[str]] = {}
    for name, state in found.values():
        counts.setdefault(name, Counter())[state] += 1
    return counts
