"""The Ray options of runners' actors and of remote tasks: the handler's own ones, completed."""

from collections.abc import Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raytasks.handling.declaration import HandlerSpec
from raytasks.handling.declaration_checks import GROUP_OPTIONS
from raytasks.handling.registry import Registry
from raytasks.model.errors import HandlerError
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.lines import one_line
from raytasks.runner.identity import RAY_NAMESPACE
from raytasks.runner.node_labels import ACCELERATOR
from raytasks.runner.plan import RunnerPlan

_ACCELERATOR_SHARE = 0.001  # what Ray takes of it: only a mark of the right node
_MIN_CPU = 0.25  # counted for a handler that asks for no CPU, as each attempt has a process


def actor_options(info: HandlerInfo, plan: RunnerPlan, *, basic: bool) -> dict[str, Any]:
    """Return the Ray options of a runner's actor. `info` is any handler of its pool.

    The `basic` runners are those that a pool always has. They reserve no processor, so that they
    leave room for remote tasks on a small machine. Each further runner reserves one, so that Ray
    places it well and its autoscaler sees the need. The pool's own options take precedence.
    """
    own: dict[str, Any] = dict(info.ray_options)
    return {
        "num_cpus": 0 if basic else 1,
        **own,
        "name": plan.name,
        "namespace": RAY_NAMESPACE,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "max_concurrency": 1000,
        "runtime_env": plan.actor_environment(own.get("runtime_env")),
    }


def remote_options(
    own: Mapping[str, Any],
    plan: RunnerPlan,
    *,
    name: str | None = None,
    strategy: PlacementGroupSchedulingStrategy | None = None,
) -> dict[str, Any]:
    """Return the Ray options of an attempt's remote task: the handler's `own`, completed.

    The `strategy` stands for the placement group that they name: see `Placement.strategy`.

    Ray retries nothing unless the handler asks for it: raytasks would not count such a retry.
    Yet Ray gets one retry more than the handler asks for, which `remote_attempt` does not use. When
    memory is short, Ray first ends what it may retry, however small, and then the rest. Without
    that retry it would end the tracker and all runners before a task that has taken all the memory.
    """
    most = own.get("max_retries", 0)
    options = {key: value for key, value in own.items() if key not in GROUP_OPTIONS}
    options["max_retries"] = most + 1 if most >= 0 else most
    options["runtime_env"] = plan.runtime_env(own.get("runtime_env"))
    if name:
        options["name"] = name
    if strategy is not None:
        options["scheduling_strategy"] = strategy
    return options


def resources_of(options: Mapping[str, Any]) -> dict[str, float]:
    """Return the resources that a remote task with these Ray options is counted with.

    The names are Ray's.
    """
    needs = needs_of(options)
    return {**needs, "CPU": max(_MIN_CPU, needs.get("CPU", 0.0))}


def needs_of(options: Mapping[str, Any]) -> dict[str, float]:
    """Return the resources that Ray must find free on one node for these options, by its names."""
    cpus = options.get("num_cpus")
    needs = {"CPU": 1.0 if cpus is None else float(cpus)}
    if options.get("num_gpus"):
        needs["GPU"] = float(options["num_gpus"])
    if options.get("memory"):
        needs["memory"] = float(options["memory"])
    if accelerator := options.get("accelerator_type"):
        needs[f"{ACCELERATOR}{accelerator}"] = _ACCELERATOR_SHARE
    needs |= {name: float(amount) for name, amount in (options.get("resources") or {}).items()}
    return {name: amount for name, amount in needs.items() if amount > 0}


def selectors_of(options: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return what these options ask of a node's labels: Ray places it where one of them is met.

    Empty if they ask nothing.
    """
    selector = options.get("label_selector")
    others = (item.get("label_selector") for item in options.get("fallback_strategy") or ())
    return [dict(item) for item in (selector, *others) if item] if selector else []


def check_ray_options(registry: Registry) -> None:
    """Have Ray check the options of all handlers and their pools.

    Raises `HandlerError` with Ray's message.
    """
    for task_type in registry.task_types:
        spec = registry.require(task_type)
        try:
            _try_options(spec)
        except Exception as error:
            of = "" if spec.pool is None else f"the pool {spec.pool.name!r}: "
            raise HandlerError(
                f"{task_type}: {of}ray_options cannot be used: {one_line(error)}"
            ) from error


def _try_options(spec: HandlerSpec) -> None:
    plan = RunnerPlan(
        name="check",
        pool="check",
        generation="",
        task_types=(),
        modules=(),
        artifacts_url="",
        max_tasks=1,
        max_memory_bytes=1,
    )
    if spec.kind is HandlerKind.REMOTE:
        ray.remote(_check).options(**remote_options(spec.ray_options, plan))
        resources_of(spec.ray_options)
    elif spec.kind is HandlerKind.CLASS or spec.pool is not None:
        ray.remote(type("Check", (), {})).options(**actor_options(spec.info(), plan, basic=True))


def _check() -> None:
    """Stand in for a handler; this never runs."""
