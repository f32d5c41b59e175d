"""The pools' record of each runner's actor, and the names of runners."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import Any, Protocol

import ray

from raytasks.model.states import LossCause
from raytasks.model.steering import PoolSetting
from raytasks.observe.log_record import with_fields
from raytasks.protocol.messages import Demand
from raytasks.runner.identity import RAY_NAMESPACE
from raytasks.runner.sizing import TypeWork

log = logging.getLogger(__name__)

_PREFIX = "runner."

MUTE_SECONDS = 600.0
"""How long a process may take to import its handlers' modules. Then it is started again."""

ADOPTED_MUTE_SECONDS = 60.0
"""How long a runner from before this tracker may give no sign. Then it is started again."""


class RunnerView(Protocol):
    """The parts of a runner's state in the tracker that the pools need."""

    name: str
    runner_id: str
    batch: int
    retiring: bool
    leaving: bool
    node_id: str | None
    capacity_by_type: Mapping[str, int]
    waits_for: str | None
    demands: Sequence[Demand]

    @property
    def held(self) -> Mapping[str, Any]:
        """The attempts that the runner has claimed, by task id."""


@dataclass
class PooledRunner:
    """A runner's actor. Its `name` is `runner.{pool}.{slot}@{generation}`.

    Times are in seconds on a clock that only goes forward.

    - `active_at`: when it last had something to do, or was made.
    - `adopted`: it is from before this tracker. Until it answers, it is unknown whether its
      process has begun.
    - `leaving_since`: since when its process takes no more attempts and is about to end by itself.
    - `life`: the id of its present life and Ray's id of that process; None if unknown.
    - `up`: it has loaded its handlers.
    - `trouble`: the error by which it could not load them.
    - `retiring_since`: when it was told to take no more attempts.
    - `unhurried`: it may finish what it runs, however long that takes.
    """

    name: str
    actor: Any
    active_at: float
    basic: bool = True
    adopted: bool = False
    alive: bool = False
    leaving_since: float | None = None
    life: tuple[str, str] | None = None
    up: bool = False
    trouble: str | None = None
    batch: int = 0
    retiring_since: float | None = None
    unhurried: bool = False
    watch: "asyncio.Task[None] | None" = None

    def log(self, message: str, level: int = logging.INFO) -> None:
        """Write a line about this runner into the log."""
        fields = with_fields(runner=self.name, pool=self.pool)
        log.log(level, "runner %s %s", self.name, message, extra=fields)

    def is_mute(self, now: float) -> bool:
        """Return whether its process should be there, but has given no sign for too long."""
        if not (self.alive or self.adopted):
            return False  # it may be waiting for a place in the cluster
        return now - self.active_at > (MUTE_SECONDS if self.alive else ADOPTED_MUTE_SECONDS)

    def is_idle(self, state: RunnerView, now: float) -> bool:
        """Return whether the runner has nothing to do."""
        if state.held or state.batch != self.batch:
            self.active_at, self.batch = now, state.batch
        return not state.held

    @property
    def pool(self) -> str:
        """The pool's name."""
        return self.name.removeprefix(_PREFIX).rpartition("@")[0].rpartition(".")[0]

    @property
    def slot(self) -> int:
        """The number of its place in the pool, from 1."""
        return int(self.name.rpartition("@")[0].rpartition(".")[2])

    @property
    def generation(self) -> str:
        """The generation of the handlers that it runs."""
        return self.name.rpartition("@")[2]


class Tracked(Protocol):
    """The tracker as the pools need it."""

    def runners(self) -> Sequence[RunnerView]:
        """Return the states of all runners."""

    async def demand(self, task_types: Sequence[str]) -> Mapping[str, TypeWork]:
        """Return the open work of these types, and how long their tasks run."""

    def has_predecessors(self) -> bool:
        """Return whether an earlier cluster on the same database may still run tasks."""

    def pool_settings(self) -> Mapping[str, PoolSetting]:
        """Return the sizes of pools that people have set, by pool."""

    def mark_lost(
        self,
        runner_id: str,
        reason: str,
        *,
        out_of_memory: bool = False,
        cause: LossCause = LossCause.PROCESS,
    ) -> None:
        """Note that a runner has died or was ended: what it held is lost, and it gets no more.

        If the cause is OUTSIDE, no attempt is charged.
        """

    def release_runner(self, runner_id: str) -> int:
        """Take back the attempts that a runner holds, uncharged; return how many there are."""


def runner_name(pool: str, slot: int, generation: str) -> str:
    """Return the name of a runner."""
    return f"{_PREFIX}{pool}.{slot}@{generation}"


def free_slots(runners: Iterable[PooledRunner], number: int) -> list[int]:
    """Return the lowest slots that none of these runners has, `number` of them."""
    taken = {runner.slot for runner in runners}
    free = (slot for slot in count(1) if slot not in taken)
    return list(islice(free, max(0, number)))


def runners_present() -> tuple[dict[str, Any], bool]:
    """Return the runners' actors that are in the cluster, by name, and whether these are all.

    They are not if Ray names one and does not find it. It may have just gone, or the control store
    may be a new one. Blocks.
    """
    found, complete = {}, True
    for named in ray.util.list_named_actors(all_namespaces=True):
        name = named["name"]
        if named["namespace"] == RAY_NAMESPACE and name.startswith(_PREFIX):
            try:
                found[name] = ray.get_actor(name, RAY_NAMESPACE)
            except ValueError:
                complete = False
    return found, complete
