"""The tracker's view of what is around it: handlers, pools and nodes, from memory alone.

The tracker's core needs none of it to work. It needs it to say why a task waits.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from raytasks.pools.cluster_view import ClusterNode, PoolView
from raytasks.tracker.fleet import Fleet


class Outlook(Protocol):
    """The handlers, pools and nodes as they are now."""

    def task_types(self) -> Collection[str] | None:
        """Return the types that have a handler in the version in force; None: no version yet."""

    def pools(self) -> Sequence[PoolView]:
        """Return the pools with their runners."""

    def nodes(self) -> Sequence[ClusterNode]:
        """Return the nodes as last seen; empty if that is unknown."""

    def coming(self) -> Mapping[str, int]:
        """Return how many nodes Ray's autoscaler was adding then, by the names of their types."""


class FleetOutlook:
    """The facts that runners tell when they call: for a tracker without a cluster.

    With `task_types`, these have a handler. Without, those do that a runner takes.
    """

    def __init__(self, fleet: Fleet, task_types: Collection[str] | None = None) -> None:
        self._fleet = fleet
        self._task_types = task_types

    def task_types(self) -> Collection[str] | None:
        """See `Outlook.task_types`."""
        if self._task_types is not None:
            return self._task_types
        taken = {name for runner in self._fleet for name in runner.capacity_by_type}
        return taken or None

    def pools(self) -> Sequence[PoolView]:
        """See `Outlook.pools`."""
        types: dict[str, dict[str, None]] = {}
        for runner in self._fleet:
            if runner.confirmed:
                types.setdefault(runner.pool, {}).update(dict.fromkeys(runner.capacity_by_type))
        return [PoolView(name, tuple(names)) for name, names in sorted(types.items())]

    def nodes(self) -> Sequence[ClusterNode]:
        """See `Outlook.nodes`."""
        return ()

    def coming(self) -> Mapping[str, int]:
        """See `Outlook.coming`."""
        return {}
