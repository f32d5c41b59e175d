"""The room that the cluster has for remote tasks, by type: what fits, what waits, who is first."""

import asyncio
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ray

from raytasks.protocol.messages import Demand
from raytasks.runner.demand import (
    NODES_COMING,
    RUNNER_STARTING,
    WAITS_SECONDS,
    FirstCome,
    Node,
    demands_of,
)
from raytasks.runner.on_ray.growth import coming_nodes
from raytasks.runner.on_ray.nodes import nodes_now
from raytasks.runner.on_ray.ray_options import needs_of, resources_of, selectors_of

QUEUED = 2
"""How many attempts of a type are handed to Ray beyond those that fit the cluster.

They show Ray's autoscaler that more resources are needed.
"""

QUEUED_WHILE_GROWING = 32
"""The same for a type for which the autoscaler is adding nodes, so that it adds enough at once."""


class ClusterRoom:
    """The room for attempts of some types, whose Ray options it gets."""

    def __init__(self, options: Mapping[str, Mapping[str, Any]]) -> None:
        self.demands: Sequence[Demand] = ()
        self._counted = {name: resources_of(asked) for name, asked in options.items()}
        self._needs = {name: needs_of(asked) for name, asked in options.items()}
        self._selectors = {name: selectors_of(asked) for name, asked in options.items()}
        self._cluster: Mapping[str, float] = ray.cluster_resources()
        self._first_come = FirstCome()
        self._held_back: tuple[str, frozenset[str]] | None = None

    def capacity_by_type(self, held: Counter[str]) -> Mapping[str, int]:
        """Return how many more attempts of each type fit, beside the `held` ones.

        It is 0 for types that would take the resources that the first type in the row waits for.
        """
        growing = {item.task_type for item in self.demands if item.code == NODES_COMING}
        return {
            name: 0
            if self.is_held_back(name)
            else max(0, self._fits(name) + _queued(name in growing) - held[name])
            for name in self._counted
        }

    def is_held_back(self, task_type: str) -> bool:
        """Return whether attempts of a type would take what an earlier one waits for."""
        if self._held_back is None or self._held_back[0] == task_type:
            return False
        return bool(self._held_back[1] & self._needs[task_type].keys())

    async def look(self, waiting: Sequence[tuple[str, float]], now: float) -> bool:
        """Find out what the waiting attempts wait for; return whether that has changed.

        `waiting` has the type and the seconds of each. `now` is on a clock that only goes forward.
        """
        found: list[Demand] = []
        if any(seconds >= WAITS_SECONDS for _, seconds in waiting):
            nodes = await asyncio.to_thread(nodes_now)
            found = self._demands_of(waiting, nodes, {})
            if any(item.code != RUNNER_STARTING for item in found):
                coming = await asyncio.to_thread(coming_nodes)
                found = self._demands_of(waiting, nodes, coming) if coming else found
        before, known = self._held_back, _gist(self.demands)
        self._held_back = self._first_come.held_back(found, now)
        self.demands = found
        return _gist(found) != known or before != self._held_back

    async def measure(self) -> None:
        """Look at the size of the cluster again."""
        self._cluster = await asyncio.to_thread(ray.cluster_resources)

    def _demands_of(
        self,
        waiting: Sequence[tuple[str, float]],
        nodes: Sequence[Node],
        coming: Mapping[str, int],
    ) -> list[Demand]:
        return demands_of(waiting, self._needs, nodes, self._selectors, coming)

    def _fits(self, task_type: str) -> int:
        return min(
            math.floor(self._cluster.get(name, 0.0) / amount)
            for name, amount in self._counted[task_type].items()
        )


def _queued(growing: bool) -> int:
    return QUEUED_WHILE_GROWING if growing else QUEUED


def _gist(demands: Sequence[Demand]) -> list[tuple[Any, ...]]:
    return [(item.task_type, item.code, item.count, dict(item.coming)) for item in demands]
