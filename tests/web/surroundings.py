"""The things around a tracker in a cluster, for a service without one: nodes, pools, versions."""

import math
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import replace

import httpx
from msgspec import json

from raytasks.model.tallies import Tally, bucket
from raytasks.model.tasks import Running
from raytasks.pools.cluster_view import (
    ClusterNode,
    FailingStart,
    PoolView,
    RunnerPlace,
    Stage,
)
from raytasks.store.stats_rows import MinuteRow, StatsWrite, write_stats
from raytasks.store.store import Store
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
            replace(pool, min_runners=1, max_runners=4, declared=(1, 4), resources={"CPU": 1.0})
            for pool in super().pools()
        ]
        return [*own, GPU]

    def nodes(self) -> Sequence[ClusterNode]:
        """See `Outlook.nodes`."""
        return NODES

    def coming(self) -> Mapping[str, int]:
        """See `Outlook.coming`."""
        return {"gpu": 2}


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
    missing = "ModuleNotFoundError: No module named 'torch'"
    for number, (generation, state, error, declared) in enumerate(
        [
            ("generation", VersionState.PASSED, None, {"report": "1"}),
            ("generation", VersionState.PASSED, None, {"report": "2", "train": "1"}),
            ("4f0c2d", VersionState.FAILED, missing, {"report": "2", "embed": "1"}),
        ]
    ):
        seen_at = now - 86_400 * (2 - number) - 600
        store.number_version(epoch, f"token-{number}", generation, declared, seen_at)
        store.judge_version(epoch, f"token-{number}", state, error, "ops@machine", seen_at)


def _history(minute: int, number: int) -> tuple[int, Tally]:
    """Return the tally of a type in a minute some time ago, and how many seconds it covers."""
    wave = 1 + math.sin(minute / 70 + number)
    done = round(40 * wave + (minute * 7919 + number) % 9)
    outage = minute % 1440 in range(31, 38)
    failed = done // 3 if outage else done // 60
    waits = {
        bucket(0.02 * 1.4**step * (20 if outage else 1)): done // (step + 1) for step in range(6)
    }
    runs = {bucket(0.4 * (number + 1) * 1.3**step): done // (step + 1) for step in range(5)}
    backlog = round(300 / (number + 1)) if outage else round(9 * wave)
    return backlog, Tally(done - failed, failed, waits, runs, done + (40 if outage else 0))


def remember_a_day(database_url: str, task_types: Sequence[str]) -> None:
    """Write the statistics of the day before now, as a tracker would have."""
    store, now = Store(database_url), int(time.time() // 60)
    ages = [*range(1440, 60, -10), *range(60, 1, -1)]
    for number, task_type in enumerate(task_types):
        before, rows = 0, []
        for age in ages:
            backlog, tally = _history(age, number)
            if age > 60:  # ten minutes in one row
                for name in ("completed", "failed", "submitted"):
                    setattr(tally, name, getattr(tally, name) * 10)
            after = 0 if age == ages[-1] else backlog
            tally.backlog, before = (before, after), after
            at = now // 10 * 10 - age if age > 60 else now - age
            rows.append(MinuteRow(at, "default", task_type, json.encode({"all": tally}).decode()))
        with store.transaction(now=now * 60.0) as transaction:
            write_stats(transaction, StatsWrite(rows))
    store.close()


def cancel_many(client: httpx.Client, tag: str) -> str:
    """Cancel all tasks with a tag in a bulk operation, wait for its end, and return its id."""
    begun = client.post("/bulk", json={"action": "cancel", "tag": tag}).json()
    bulk_id: str = begun["bulk_id"]
    while client.get(f"/bulk/{bulk_id}").json()["state"] != "DONE":
        pass
    return bulk_id


def with_schedules(client: httpx.Client) -> str:
    """Set a schedule, pause a declared one, and run the other; return the id of that task."""
    spec = {
        "task_type": "transcribe",
        "every_seconds": 7 * 86_400,
        "payload": {"file": "weekly.ogg"},
        "tags": ["weekly"],
    }
    while len(client.get("/schedules").json()["schedules"]) < 2:
        pass  # the declared ones come into force with a tick
    client.put("/schedules/weekly-talk", json=spec).raise_for_status()
    client.post("/schedules/yearly-invoice/pause").raise_for_status()
    begun = client.post("/schedules/monthly-invoice/run")
    task_id: str = begun.raise_for_status().json()["task_id"]
    return task_id
