"""The placement of remote tasks: what each type needs, how many fit, and who waits for what."""

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from msgspec.structs import replace
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from raytasks.protocol.messages import Demand
from raytasks.runner.demand import (
    NODES_COMING,
    RUNNER_STARTING,
    WAITS_SECONDS,
    FirstCome,
    Node,
    Wait,
    demands_of,
)
from raytasks.runner.on_ray.groups import groups_now, request_of, strategy_of
from raytasks.runner.on_ray.growth import coming_nodes
from raytasks.runner.on_ray.nodes import nodes_now
from raytasks.runner.on_ray.ray_options import needs_of, resources_of, selectors_of
from raytasks.runner.placement_groups import (
    GroupView,
    blocked_code,
    in_group,
    touched,
    with_groups,
)

log = logging.getLogger(__name__)

QUEUED = 2
"""How many attempts of a type are handed to Ray beyond those that fit the cluster.

They show Ray's autoscaler that more resources are needed.
"""

QUEUED_WHILE_GROWING = 32
"""The same for a type for which the autoscaler is adding nodes, so that it adds enough at once."""

RESOURCES_SECONDS = 5.0
"""The time between two looks at the size of the cluster."""

GROUPS_SECONDS = 2.0
"""The time between two looks at the placement groups that handlers name."""

_ANSWER_SECONDS = 5.0


class Placement:
    """Where the remote tasks of each type may be placed, and what they wait for.

    It is made with the Ray options of each type, and then looks at the cluster. That blocks. `now`
    is in seconds on the caller's clock, as in all its methods.
    """

    def __init__(self, options: Mapping[str, Mapping[str, Any]], now: float) -> None:
        self.demands: Sequence[Demand] = ()
        """The demands that wait for resources, the longest wait first."""

        self._plain = {name: needs_of(asked) for name, asked in options.items()}
        self._counted = {name: resources_of(asked) for name, asked in options.items()}
        self._selectors = {name: selectors_of(asked) for name, asked in options.items()}
        asked_groups = {name: request_of(asked) for name, asked in options.items()}
        self._requests = {name: request for name, request in asked_groups.items() if request}
        self._first_come = FirstCome()
        self._held_back: tuple[str, frozenset[str]] | None = None
        self._groups: Mapping[str, GroupView] = groups_now(self._requests.values())
        self._cluster: Mapping[str, float] = ray.cluster_resources()
        self._cluster_at = self._groups_at = now
        self._groups_changed = False
        self._looking = asyncio.Lock()
        self._blocked: dict[str, tuple[str, float]] = {}
        self._block(now)

    def capacity(self, task_type: str, flying: int) -> int:
        """Return how many more attempts of a type may be handed to Ray beside those that are."""
        if self.is_held_back(task_type) or task_type in self._blocked:
            return 0
        growing = any(
            item.task_type == task_type and item.code == NODES_COMING for item in self.demands
        )
        queued = QUEUED_WHILE_GROWING if growing else QUEUED
        return max(0, self._fits(task_type) + queued - flying)

    def is_blocked(self, task_type: str) -> bool:
        """Return whether no attempt of a type can be handed to Ray, for want of its group."""
        return task_type in self._blocked

    def is_held_back(self, task_type: str) -> bool:
        """Return whether attempts of a type would take what an earlier one waits for."""
        if self._held_back is None or self._held_back[0] == task_type:
            return False
        return bool(self._held_back[1] & self._touched(task_type))

    @property
    def has_groups(self) -> bool:
        """Whether any type is to run in a placement group."""
        return bool(self._requests)

    def group_id(self, task_type: str) -> str | None:
        """Return Ray's id of the placement group in which attempts of a type would begin now.

        None if the type names no group, or the group does not exist.
        """
        group = self._group(task_type)
        return None if group is None else group.group_id

    def strategy(self, task_type: str) -> PlacementGroupSchedulingStrategy | None:
        """Return the scheduling strategy of the attempts of a type that is to run in a group.

        None for other types.
        """
        request, group = self._requests.get(task_type), self._group(task_type)
        return None if request is None or group is None else strategy_of(request, group)

    async def look(self, now: float) -> bool:
        """Look at the cluster if that is due. Return whether a placement group has changed."""
        if self._requests and not 0 <= now - self._groups_at <= GROUPS_SECONDS:
            async with self._looking:
                await self._look_at_groups(now)
        changed, self._groups_changed = self._groups_changed, False
        if changed or not 0 <= now - self._cluster_at <= RESOURCES_SECONDS:
            self._cluster_at = now
            self._cluster = await asyncio.to_thread(ray.cluster_resources)
        return changed

    async def look_for_group(self, task_type: str, group_id: str, now: float) -> None:
        """Look whether a group is still there, unless it is known to be gone. See `group_id`.

        If Ray does not answer in time, what was known of the groups stays.
        """
        try:
            async with asyncio.timeout(_ANSWER_SECONDS), self._looking:
                if self.group_id(task_type) == group_id:
                    await self._look_at_groups(now)
        except Exception as error:
            log.warning("the placement groups cannot be had: %r", error)

    async def _look_at_groups(self, now: float) -> None:
        found = await asyncio.to_thread(groups_now, tuple(self._requests.values()))
        self._groups_at = now
        self._groups_changed |= found != self._groups
        self._groups = found
        self._block(now)

    async def look_at_demands(self, waiting: Sequence[Wait], now: float) -> bool:
        """Note what attempts wait for, and return whether that has changed.

        `waiting` has the attempts that have not begun.
        """
        found: list[Demand] = []
        if any(item.seconds >= WAITS_SECONDS for item in waiting):
            nodes = await asyncio.to_thread(nodes_now)
            if self._groups:
                nodes = with_groups(nodes, self._groups.values())
            free = [item for item in waiting if item.task_type not in self._blocked]
            found = self._demands_of(free, nodes, {})
            if any(item.code != RUNNER_STARTING for item in found):
                coming = await asyncio.to_thread(coming_nodes)
                found = self._demands_of(free, nodes, coming) if coming else found
        before = self._held_back
        self._held_back = self._first_come.held_back(found, now)
        found = [self._described(demand) for demand in found]
        if self._blocked:
            found += self._blocked_demands(waiting, now)
            found.sort(key=lambda demand: -demand.seconds)
        known = _gist(self.demands)
        self.demands = found
        return _gist(found) != known or before != self._held_back

    def _demands_of(
        self,
        waiting: Sequence[Wait],
        nodes: Sequence[Node],
        coming: Mapping[str, int],
    ) -> list[Demand]:
        """Return the demands. Nodes that are `coming` help nobody who is to run in a group."""
        needs = {item.task_type: self._needs(item.task_type) for item in waiting}
        inside = [item for item in waiting if item.task_type in self._requests]
        outside = [item for item in waiting if item.task_type not in self._requests]
        found = demands_of(inside, needs, nodes, self._selectors)
        found += demands_of(outside, needs, nodes, self._selectors, coming)
        return sorted(found, key=lambda demand: -demand.seconds)

    def _described(self, demand: Demand) -> Demand:
        """Return the demand with the plain names of resources, and the name of its group."""
        request = self._requests.get(demand.task_type)
        if request is None:
            return demand
        return replace(
            demand,
            resources=self._plain[demand.task_type],
            placement_group=request.name,
            bundle=request.bundle,
        )

    def _blocked_demands(self, waiting: Sequence[Wait], now: float) -> list[Demand]:
        count = Counter(item.task_type for item in waiting)
        return [
            self._described(Demand(name, {}, count[name], now - since, code, self._selectors[name]))
            for name, (code, since) in self._blocked.items()
        ]

    def _block(self, now: float) -> None:
        """Note which types can run nowhere now, for want of their group, and since when."""
        before, self._blocked = self._blocked, {}
        for name, request in self._requests.items():
            code = blocked_code(request, self._plain[name], self._group(name))
            if code is not None:
                known, since = before.get(name, ("", now))
                self._blocked[name] = code, since if code == known else now

    def _group(self, task_type: str) -> GroupView | None:
        request = self._requests.get(task_type)
        return None if request is None else self._groups.get(request.name)

    def _needs(self, task_type: str) -> Mapping[str, float]:
        """Return what a task needs by Ray's names: by those of its group, if it has one."""
        plain, group = self._plain[task_type], self._group(task_type)
        if group is None:
            return plain
        return in_group(plain, group, self._requests[task_type].bundle)

    def _touched(self, task_type: str) -> frozenset[str]:
        plain, group = self._plain[task_type], self._group(task_type)
        if group is None:
            return frozenset(plain)
        return touched(plain, group, self._requests[task_type].bundle)

    def _fits(self, task_type: str) -> int:
        counted = self._counted[task_type]
        if (group := self._group(task_type)) is not None:
            # What takes no processor of the group is counted by those of the cluster.
            plain = self._plain[task_type]
            inside = {name: amount for name, amount in counted.items() if name in plain}
            outside = {name: amount for name, amount in counted.items() if name not in plain}
            counted = outside | in_group(inside, group, self._requests[task_type].bundle)
        return min(
            math.floor(self._cluster.get(name, 0.0) / amount) for name, amount in counted.items()
        )


def _gist(demands: Sequence[Demand]) -> list[tuple[Any, ...]]:
    return [
        (item.task_type, item.code, item.count, dict(item.coming), list(item.tasks))
        for item in demands
    ]
