"""Handlers as the tracker and its clients know them, and the pools of raytasks itself."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from raytasks.model.controls import Batch, Limit, Pool
from raytasks.model.schedule_specs import DeclaredSchedule

REMOTE_POOL = "remote"
"""The pool of the task runner, which starts a Ray remote task for each attempt."""

SHARED_POOL = "shared"
"""The pool of warm runners for plain function handlers."""


CONCURRENT_POOL = "concurrent"
"""The pool of warm runners for functions that run several attempts at a time."""

EARLIER_POOL, EARLIER_REMOTE_POOL = "earlier cluster", "earlier cluster, remote"
"""The pools, as it were, of the runners of clusters that this one has superseded."""


class HandlerKind(StrEnum):
    """The kind of a handler: where its attempts run."""

    FUNCTION = "function"  # in a pool of warm runners
    CLASS = "class"  # in a pool of warm runners that keep an instance loaded
    REMOTE = "remote"  # each in a Ray remote task of its own


@dataclass(frozen=True, slots=True)
class HandlerInfo:
    """The description of a handler for the tracker and its clients: data only, no user code.

    - `actors`: the fewest and the most runners of a class handler's own pool.
    - `ray_options`: those of the actors of its pool; empty for the pools of raytasks itself.
    - `description`: the public JSON object that `/task-types` shows.
    - `runtime_env`: the runtime environment that the handler asks for, of its processes.
    - `own_pool`: the pool that the handler names, or None.
    - `concurrency`: how many attempts a runner runs at a time.
    - `batch`: how many attempts one call gets, or None.
    - `limits`: its limits, by name; the `weight` is its share among the types of a namespace.
    - `schedules`: those that it declares, checked.
    - `heeds_memory`: whether an attempt must know where earlier ones ran out of memory.
    - `max_attempts`, `timeout_seconds`: what its tasks get unless their submission says otherwise.
    """

    task_type: str
    kind: HandlerKind
    actors: tuple[int, int]
    ray_options: dict[str, Any] = field(default_factory=dict)
    description: dict[str, object] = field(default_factory=dict)
    runtime_env: dict[str, Any] = field(default_factory=dict, repr=False)
    own_pool: Pool | None = None
    concurrency: int = 1
    batch: Batch | None = None
    limits: tuple[Limit, ...] = ()
    weight: float = 1.0
    schedules: tuple[DeclaredSchedule, ...] = ()
    max_attempts: int = 3
    timeout_seconds: float | None = None
    heeds_memory: bool = False

    @property
    def pool(self) -> str:
        """The name of the pool of runners that runs this handler's attempts."""
        if self.kind is HandlerKind.REMOTE:
            return REMOTE_POOL
        if self.own_pool is not None:
            return self.own_pool.name
        if self.kind is HandlerKind.CLASS:
            return f"class.{self.task_type}"
        return CONCURRENT_POOL if self.is_concurrent else SHARED_POOL

    @property
    def is_concurrent(self) -> bool:
        """Whether a runner runs several of its attempts at a time."""
        return self.concurrency > 1 or self.batch is not None
