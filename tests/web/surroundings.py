"""The things around a tracker in a cluster, for a service without one: nodes, pools, versions."""

import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace

import httpx

from raytasks.model.tasks import Running
from raytasks.pools.cluster_view import (
    ClusterNode,
    FailingStart,
    PoolView,
    RunnerPlace,
    Stage,
)
from raytasks.store.version_rows import VersionState
from raytasks.tracker.outlook import FleetOutlook
from tests.local_service import LocalService

NODES = (
    ClusterNode(
        "node", "machine", "10.0.0.5", alive=True, is_head=True,
        total={"CPU": 8.0, "memory": 24e9, "object_store_memory": 8e9},
        free={"CPU": 4.5, "memory": 20e9, "object_store_memory": 8e9},
        labels={"zone": "a"},
    ),
    ClusterNode(
        "9c41f0a77b2e", "box-2", "10.0.0.6", alive=True, is_head=False,
        total={"CPU": 16.0, "GPU": 2.0, "memory": 64e9}, free=None,
        labels={"zone": "b", "accelerator-type": "A10G"},
    ),
    ClusterNode(
        "77aa04c1d093", "box-3", "10.0.0.7", alive=False, is_head=False,
        total={}, free={}, labels={},
    ),
)  # fmt: skip

GPU = PoolView(
    "gpu", ("train_model",), min_runners=1, max_runners=2, resources={"GPU": 1.0, "CPU": 4.0},
    runners=(RunnerPlace("runner.gpu.1@4f0c2d", Stage.STARTING, 12.0, placed=False),),
    failing=FailingStart(3, "ModuleNotFoundError: No module named 'torch'", 0.0),
)  # fmt: skip


class Cluster(FleetOutlook):
    """The outlook of a cluster: of its nodes one is dead, and one pool's runners cannot start."""

    def pools(self) -> Sequence[PoolView]:
        """See `Outlook.pools`."""
        own = [
            replace(pool, min_runners=1, max_runners=4, resources={"CPU": 1.0})
            for pool in super().pools()
        ]
        return [*own, GPU]

    def nodes(self) -> Sequence[ClusterNode]:
        """See `Outlook.nodes`."""
        return NODES


async def stack_of(_name: str, running: Running) -> str | None:
    """Return the stack of the thread that runs a task's handler in this process."""
    for frame in sys._current_frames().values():
        lines = traceback.format_stack(frame)
        if any(f"in {running.task_type}" in line for line in lines):
            return "".join(lines)
    return None


def surround(service: LocalService) -> None:
    """Put a service that runs into such a cluster, with some versions of its handlers."""
    tracker = service.tracker
    tracker.observer.outlook = Cluster(tracker.fleet, service.registry.task_types)
    tracker.observer.in_force = lambda: 2
    tracker.stack_of = stack_of
    store, epoch, now = tracker.ticker.store, tracker.ticker.epoch, tracker.ticker.clock()
    for number, (generation, state, error) in enumerate(
        [
            ("generation", VersionState.PASSED, None),
            ("generation", VersionState.PASSED, None),
            ("4f0c2d", VersionState.FAILED, "ModuleNotFoundError: No module named 'torch'"),
        ]
    ):
        seen_at = now - 86_400 * (2 - number) - 600
        store.number_version(epoch, f"token-{number}", generation, seen_at)
        store.judge_version(epoch, f"token-{number}", state, error, "ops@machine", seen_at)


def cancel_many(client: httpx.Client, tag: str) -> str:
    """Cancel all tasks with a tag in a bulk operation, wait for its end, and return its id."""
    begun = client.post("/bulk", json={"action": "cancel", "tag": tag}).json()
    bulk_id: str = begun["bulk_id"]
    while client.get(f"/bulk/{bulk_id}").json()["state"] != "DONE":
        pass
    return bulk_id
