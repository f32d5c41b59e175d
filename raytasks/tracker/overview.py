"""Runners, nodes and running attempts as JSON documents for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from raytasks.model.handler_info import REMOTE_POOL
from raytasks.model.tasks import Running
from raytasks.model.time_text import rfc3339
from raytasks.pools.cluster_view import ClusterNode, PoolView, Stage
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.work_health import WorkScene

Document = dict[str, Any]

MAX_SHOWN = 100
"""Maximum number of attempts that are shown of one runner."""

STARTING, IDLE, BUSY, LEAVING = "starting", "idle", "busy", "leaving"
"""The states of a runner."""


def live_attempt(work: WorkScene, task_id: str) -> Document | None:
    """Return where a task's attempt runs; None if it does not run."""
    running = work.fleet.running.get(task_id)
    if running is None:
        return None
    runner = work.fleet.runners.get(running.runner_id)
    # A remote attempt runs elsewhere than its runner, which alone knows where.
    own = None if runner is None or running.waits or _is_remote(runner) else runner
    return {
        "attempt": running.attempt,
        "host": own and own.host,
        "pid": own and own.pid,
        "node_id": own and own.node_id,
        "worker_id": own and own.worker_id,
        "last_sign_at": rfc3339(_last_sign(work, running)),
    }


def runner_documents(work: WorkScene, numbers: Mapping[str, int]) -> list[Document]:
    """Return the runners with what they run, by pool and name.

    `numbers` has the number of the newest version of each generation.
    """
    pools = work.outlook.pools()
    found = [_runner(work, runner, pools, numbers) for runner in work.fleet if runner.name]
    known = {document["name"] for document in found}
    for pool in pools:
        found += [
            _unheard(work, pool.name, place.name, place.stage, place.seconds, numbers)
            for place in pool.runners
            if place.name not in known
        ]
    return sorted(found, key=lambda document: (document["pool"], document["name"]))


def node_documents(
    nodes: Sequence[ClusterNode] | None, runners: Sequence[RunnerState]
) -> list[Document]:
    """Return the nodes: the head first, then those that are alive, by host."""
    found = [
        {
            "node_id": node.node_id,
            "host": node.host,
            "address": node.address,
            "alive": node.alive,
            "head": node.is_head,
            "leaving": node.leaving,
            "resources": {
                name: {
                    "total": total,
                    "free": None if node.free is None else node.free.get(name, 0.0),
                }
                for name, total in sorted(node.total.items())
                if not name.startswith("node:")
            },
            "labels": dict(node.labels),
            "runners": sorted(item.name for item in runners if item.node_id == node.node_id),
        }
        for node in nodes or ()
    ]
    return sorted(found, key=lambda item: (not item["head"], not item["alive"], item["host"]))


def state_of(runner: RunnerState) -> str:
    """Return the state of a runner that has called, or that holds attempts."""
    if runner.leaving or runner.retiring:
        return LEAVING
    if runner.held:
        return BUSY
    return IDLE if runner.confirmed and runner.capacity_by_type else STARTING


def _runner(
    work: WorkScene, runner: RunnerState, pools: Sequence[PoolView], numbers: Mapping[str, int]
) -> Document:
    leaving = any(
        place.stage is Stage.LEAVING and place.name == runner.name
        for pool in pools
        for place in pool.runners
    )
    held = list(runner.held.values())
    return {
        "name": runner.name,
        "pool": runner.pool,
        "state": LEAVING if leaving else state_of(runner),
        "host": runner.host,
        "pid": runner.pid,
        "node_id": runner.node_id,
        "since": _moment(work, runner.since),
        "last_seen_at": _moment(work, runner.seen_at),
        "version": numbers.get(runner.generation),
        "generation": runner.generation,
        "way": runner.way or None,
        "waits_for": runner.waits_for,
        "running_count": len(held),
        "running": [_attempt(work, running) for running in held[:MAX_SHOWN]],
    }


def _unheard(
    work: WorkScene, pool: str, name: str, stage: Stage, seconds: float, numbers: Mapping[str, int]
) -> Document:
    """Return a runner that has not called yet."""
    generation = name.rpartition("@")[2]
    nothing = dict.fromkeys(("host", "pid", "node_id", "last_seen_at", "way", "waits_for"))
    return {
        "name": name,
        "pool": pool,
        "state": LEAVING if stage is Stage.LEAVING else STARTING,
        **nothing,
        "since": rfc3339(work.now - seconds),
        "version": numbers.get(generation),
        "generation": generation,
        "running_count": 0,
        "running": [],
    }


def _attempt(work: WorkScene, running: Running) -> Document:
    since = running.started_at
    return {
        "task_id": running.task_id,
        "task_type": running.task_type,
        "namespace": running.namespace,
        "attempt": running.attempt,
        "begun": since is not None,
        "seconds": round(max(0.0, work.now - (since or running.claimed_at)), 3),
        "timeout_seconds": running.timeout_seconds,
        "last_sign_at": rfc3339(_last_sign(work, running)),
    }


def _last_sign(work: WorkScene, running: Running) -> float:
    """Return when an attempt last reported something; else when it began, or was claimed."""
    sign = work.fleet.signs.get(running.task_id)
    if sign is None:
        return running.started_at or running.claimed_at
    return work.now - max(0.0, work.monotonic - sign)


def _moment(work: WorkScene, at: float) -> str | None:
    """Return a time of the clock that only goes forward as a time of day."""
    return rfc3339(work.now - max(0.0, work.monotonic - at))


def _is_remote(runner: RunnerState) -> bool:
    return runner.pool == REMOTE_POOL
