"""The nodes of the cluster as this process last saw them: looked at now and then, never waited for.

Ray's control store may be away for minutes, and then its calls do not return. So a look runs in a
thread, and who asks gets what is known.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

import ray

from raytasks.pools.cluster_view import ClusterNode
from raytasks.runner.on_ray.growth import coming_nodes
from raytasks.runner.on_ray.nodes import leaving_nodes

log = logging.getLogger(__name__)

FRESH_SECONDS = 2.0
"""How old a look may be, in seconds, before another one is begun."""

_HEAD = "node:__internal_head__"  # a resource that only the head node has


class ClusterSight:
    """The nodes as last seen. `nodes` is None before the first look has succeeded.

    `coming` is how many nodes Ray's autoscaler was adding then, by the names of their types.
    """

    def __init__(self) -> None:
        self.nodes: list[ClusterNode] | None = None
        self.coming: Mapping[str, int] = {}
        self._seen_at = 0.0
        self._look: asyncio.Task[None] | None = None

    async def fresh(self, seconds: float) -> bool:
        """Look at the nodes if that was long ago; return whether what is known is fresh.

        Waits at most `seconds` for the look, which goes on after that.
        """
        if self._is_fresh():
            return True
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._see())
        await asyncio.wait([self._look], timeout=seconds)
        return self._is_fresh()

    def _is_fresh(self) -> bool:
        return self.nodes is not None and time.monotonic() - self._seen_at < FRESH_SECONDS

    async def _see(self) -> None:
        try:
            self.nodes = await asyncio.to_thread(cluster_nodes)
            self.coming = await asyncio.to_thread(coming_nodes)
            self._seen_at = time.monotonic()
        except Exception as error:
            log.warning("the nodes of the cluster cannot be had: %r", error)

    def health(self, *, is_fresh: bool) -> dict[str, Any]:
        """Return the part of `/health` about Ray."""
        alive = [node for node in self.nodes or () if node.alive]
        total = _sum(node.total for node in alive)
        free = _sum(node.free or {} for node in alive)
        return {
            "ok": is_fresh and bool(alive),
            "nodes": len(alive),
            "nodes_coming": dict(self.coming),
            "resources": total,
            # Without those of placement groups, which are no resources of a node.
            "available": {name: amount for name, amount in free.items() if name in total},
        }


def cluster_nodes() -> list[ClusterNode]:
    """Return all nodes that the cluster has had, also those that are gone. Blocks."""
    free, leaving = _free_by_node(), leaving_nodes()
    return [
        ClusterNode(
            node_id=node["NodeID"],
            host=node.get("NodeManagerHostname") or "",
            address=node.get("NodeManagerAddress") or "",
            alive=bool(node["Alive"]),
            is_head=_HEAD in node["Resources"],
            total=node["Resources"],
            free=free.get(node["NodeID"]),
            labels=dict(node.get("Labels") or {}),
            leaving=bool(node["Alive"]) and node["NodeID"] in leaving,
        )
        for node in ray.nodes()
    ]


def _free_by_node() -> dict[str, dict[str, float]]:
    try:
        from ray._private.state import available_resources_per_node

        found: dict[str, dict[str, float]] = available_resources_per_node()
    except Exception as error:
        log.warning("what is free on the nodes cannot be had: %r", error)
        return {}
    return found


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in parts:
        for name, amount in part.items():
            found[name] = found.get(name, 0.0) + amount
    return found
