"""The tracker's view of its cluster: the pools, the versions, the nodes and the disks."""

import logging
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from raytasks.pools.cluster_sight import ClusterSight
from raytasks.pools.cluster_view import ClusterNode, PoolView
from raytasks.pools.manager import RunnerPools
from raytasks.pools.versions import Versions
from raytasks.protocol.metrics_data import MetricsData
from raytasks.protocol.queries import Health, Metrics, NodeList, NodesComing, WaitingFor
from raytasks.settings import Settings
from raytasks.tracker.disks import DiskWatch
from raytasks.tracker.metrics_view import nodes_by_state
from raytasks.tracker.observer import Observer
from raytasks.tracker.work_health import HealthReason, health_reason

log = logging.getLogger(__name__)

_NODES_SECONDS = 1.0
_SOON_SECONDS = 0.1
_DISK_SECONDS = 1.0

LookQuery = Health | NodeList | NodesComing | WaitingFor | Metrics
"""The queries whose answers tell of nodes."""


class ClusterOutlook:
    """The handlers, pools and nodes of a cluster, and the parts of `/health` about them.

    `socket_node` returns the node on which the tracker has a socket, or None.
    """

    def __init__(
        self,
        pools: RunnerPools,
        versions: Versions,
        settings: Settings,
        socket_node: Callable[[], str | None],
    ) -> None:
        self._pools = pools
        self._versions = versions
        self._sight = ClusterSight()
        self._disks = DiskWatch({**places_of(settings), **_rays_place()})
        self._socket_node = socket_node

    def task_types(self) -> Collection[str] | None:
        """See `Outlook.task_types`."""
        version = self._versions.version
        if version is None:
            return None
        return [info.task_type for info in version.all_handlers]

    def pools(self) -> Sequence[PoolView]:
        """See `Outlook.pools`."""
        return self._pools.views()

    def nodes(self) -> Sequence[ClusterNode]:
        """See `Outlook.nodes`."""
        return self._sight.nodes or ()

    def coming(self) -> Mapping[str, int]:
        """See `Outlook.coming`."""
        return self._sight.coming

    def serve(self, observer: Observer, settings: Settings) -> None:
        """Make this the outlook of an observer, with the thresholds of these settings."""
        observer.outlook = self
        observer.socket_node = self._socket_node
        observer.in_force = self._in_force
        set_thresholds(observer, settings)

    def _in_force(self) -> int | None:
        return None if self._versions.row is None else self._versions.row.number

    async def look(self, query: LookQuery) -> None:
        """Look at the nodes again if the answer to a query needs it. Takes a moment at most."""
        if isinstance(query, Metrics):
            await self._sight.fresh(_SOON_SECONDS)
        elif not isinstance(query, WaitingFor):
            await self._sight.fresh(_NODES_SECONDS)
        elif any(not place.placed for pool in self.pools() for place in pool.runners):
            await self._sight.fresh(_SOON_SECONDS)

    def complete_metrics(self, data: MetricsData) -> None:
        """Add what is known of the nodes to metrics; nothing before they were seen. See `look`."""
        if self._sight.nodes is not None:
            data.nodes = nodes_by_state(self._sight.nodes)
            data.nodes_coming = self._sight.coming

    async def complete(self, report: dict[str, Any], waiting: Mapping[str, int]) -> dict[str, Any]:
        """Return the health report with the parts about handlers, pools, Ray and disks.

        Call `look` before.
        `waiting` is how many tasks wait, by type.
        """
        handlers, reasons = self._versions.report(waiting)
        reasons += [*self._pools.failures.reasons(), *self._pools.nested.reasons()]
        is_fresh = await self._sight.fresh(0.0)  # `look` has waited for it
        seen = self._sight.health(is_fresh=is_fresh)
        if not seen["ok"]:
            reasons.append(_ray_away())
        reasons += await self._disks.reasons(_DISK_SECONDS)
        report["runners"]["waiting_pools"] = self._pools.nested.report()
        return {
            **report,
            "handlers": handlers,
            "ray": seen,
            "reasons": [*report["reasons"], *reasons],
        }


def set_thresholds(observer: Observer, settings: Settings) -> None:
    """Give an observer the thresholds of `/health` that settings have."""
    observer.wait_seconds = settings.health_wait_seconds
    observer.stall_seconds = settings.health_stall_seconds


def places_of(settings: Settings) -> dict[str, Path]:
    """Return the folders that the service writes to on this machine, by what is there."""
    places = {"temporary files": Path(tempfile.gettempdir())}
    if settings.sqlite_path is not None:
        places["the database"] = settings.sqlite_path
    if "://" not in settings.artifacts_url:
        places["the artifacts"] = Path(settings.artifacts_url)
    return places


def _rays_place() -> dict[str, Path]:
    try:
        return {"Ray's files": Path(ray.get_runtime_context().get_temp_dir())}
    except Exception as error:  # a missing figure must not end the tracker
        log.warning("the folder of Ray's files is not known: %r", error)
        return {}


def _ray_away() -> HealthReason:
    return health_reason(
        "ray_away",
        "Ray's control store does not answer, or no node is alive",
        "see that the head node runs; what runs goes on for about a minute",
    )
