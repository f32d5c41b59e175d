"""Pools, runners and nodes as the cluster has them now: data for people and for reasons. No Ray."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from raytasks.runner.demand import Node
from raytasks.runner.node_labels import Selector


class Stage(StrEnum):
    """The stage of a runner's life, as its pool knows it."""

    STARTING = "starting"  # it has not loaded its handlers yet
    UP = "up"
    LEAVING = "leaving"  # it takes no more attempts


@dataclass(frozen=True)
class RunnerPlace:
    """A runner of a pool.

    - `seconds`: how long it has been in its stage, about; for a `starting` one exactly.
    - `placed`: its process is there. If not, it waits for a place in the cluster.
    - `resources`: what it reserves, by Ray's names.
    - `selectors`: what it asks of its node's labels; one of them must be met. Empty: nothing.
    """

    name: str
    stage: Stage
    seconds: float
    placed: bool
    resources: Mapping[str, float] = field(default_factory=dict)
    selectors: Sequence[Selector] = ()


@dataclass(frozen=True)
class FailingStart:
    """The failed starts in a row of a pool's runners: how many, the last error, and since when.

    `log` is the end of the last one's log.
    """

    count: int
    error: str
    since: float
    log: tuple[str, ...] = ()


@dataclass(frozen=True)
class PoolView:
    """A pool: its task types, its bounds, and its runners.

    - `min_runners`, `max_runners`: the bounds in force; None until it was looked after once.
    - `declared`: the bounds without what people have set; None for a pool that has no sizes.
    - `resources`: what a runner beyond the minimum reserves.
    """

    name: str
    task_types: Sequence[str]
    min_runners: int | None = None
    max_runners: int | None = None
    resources: Mapping[str, float] = field(default_factory=dict)
    runners: Sequence[RunnerPlace] = ()
    failing: FailingStart | None = None
    declared: tuple[int, int] | None = None


@dataclass(frozen=True)
class ClusterNode:
    """A node of the cluster. Resources are by Ray's names; `free` is None if Ray does not say.

    A `leaving` one was told to leave the cluster: it takes no more work.
    """

    node_id: str
    host: str
    address: str
    alive: bool
    is_head: bool
    total: Mapping[str, float]
    free: Mapping[str, float] | None
    labels: Mapping[str, str]
    leaving: bool = False

    @property
    def takes_work(self) -> bool:
        """Whether something may be placed there."""
        return self.alive and not self.leaving

    def as_place(self) -> Node:
        """Return the node as the rules of placement see it."""
        return Node(self.node_id, self.total, self.free or {}, self.labels)
