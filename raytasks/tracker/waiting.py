"""The reasons why a task waits, in words, from memory: the strongest first."""

from collections.abc import Mapping
from typing import Any

from raytasks.protocol.messages import Demand
from raytasks.tracker.fleet import Fleet


def waiting_for(fleet: Fleet, task_id: str) -> list[dict[str, Any]] | None:
    """Return the reasons why a claimed attempt has not begun; None if there is no such attempt.

    Each reason is `{code, message, fix, details, until}`.
    """
    running = fleet.running.get(task_id)
    if running is None or not running.waits:
        return None
    runner = fleet.runners.get(running.runner_id)
    demands = () if runner is None else runner.demands
    demand = next((item for item in demands if item.task_type == running.task_type), None)
    return [_reason("runner_starting", {}, 1) if demand is None else _reason_of(demand)]


def _reason_of(demand: Demand) -> dict[str, Any]:
    return _reason(demand.code, demand.resources, demand.count)


def _reason(code: str, resources: Mapping[str, float], count: int) -> dict[str, Any]:
    needed = ", ".join(f"{name}: {amount:g}" for name, amount in sorted(resources.items()))
    fix: str | None = None
    match code:
        case "never_fits":
            message = f"no node of the cluster has {needed}"
            fix = "add a node that has it, or ask for less in the handler's ray_options"
        case "no_resources":
            message = f"no node of the cluster has {needed} free now"
            fix = "it begins when enough has ended; another node would let it begin sooner"
        case _:
            message = "Ray is starting a process for it"
    details = {"resources": dict(resources), "tasks": count}
    return {"code": code, "message": message, "fix": fix, "details": details, "until": None}
