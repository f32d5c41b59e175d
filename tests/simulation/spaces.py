"""Namespaces: in many schedules tasks belong to several of them, with weights or without.

All that is drawn for them has a source of chance of its own.
"""

import asyncio
from random import Random
from typing import TYPE_CHECKING

from raytasks.model.changes import TaskChanges
from raytasks.model.tasks import DEFAULT_NAMESPACE, TaskNotFound
from raytasks.protocol.commands import CancelTask, ChangeTask, DeleteTask, RetryTask, SetNamespace
from tests.simulation.bodies import Plan
from tests.simulation.probes import Probes

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARE = 0.4
"""In how many schedules there are several namespaces."""

_NAMES = (DEFAULT_NAMESPACE, "a", "b")
_FIRST_NUMBER = 9000
_MANY, _FEW = 14, 3
_MAX_WEIGHT = 4.0


class Spaces:
    """The namespaces of one schedule, who weighs them, and who asks for tasks of others."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._draw = Random(f"spaces {world.seed}")
        self.is_active = self._draw.random() < SHARE
        self.names = _NAMES[: self._draw.choice((2, 3))] if self.is_active else _NAMES[:1]
        self._set: dict[str, float] = {}
        """The weights that somebody was told to be set."""
        self._numbers = _FIRST_NUMBER

    def of(self, number: int) -> str:
        """Return the namespace of the tasks with this number of a plan."""
        if not self.is_active:
            return DEFAULT_NAMESPACE
        return Random(f"{self._world.seed}/space/{number}").choice(self.names)

    def one(self) -> str:
        """Return one of them, by chance."""
        return self._draw.choice(self.names)

    def begin(self) -> None:
        """Begin to weigh namespaces, in some schedules."""
        if self.is_active and self._draw.random() < 0.4:
            for name in self.names:
                self._world.clients.begin(self._weigh(name))

    async def _weigh(self, name: str) -> None:
        """Set a weight, once: a copy of an earlier order could come late."""
        await asyncio.sleep(self._draw.uniform(0.0, 4.0))
        weight = self._draw.choice((0.5, 2.0, _MAX_WEIGHT))
        found = await self._world.clients.insist(SetNamespace(name, weight, None))
        if (found.namespace, found.weight) != (name, weight):
            self._world.fail(f"{name} was to weigh {weight}, and the answer is {found}")
        self._set[name] = weight

    def follow(self, task_id: str) -> None:
        """Have somebody of another namespace ask for a task, in some schedules."""
        if self.is_active and self._draw.random() < 0.3:
            self._world.clients.begin(self._stranger(task_id))

    async def _stranger(self, task_id: str) -> None:
        """Ask for a task of another namespace, which is unknown there; its keys are free there."""
        world, draw, clients = self._world, self._draw, self._world.clients
        await asyncio.sleep(draw.uniform(0.0, 3.0))
        task = world.account.submitted[task_id]
        mine = draw.choice([name for name in self.names if name != task.namespace])
        row = world.checker.rows.get(task_id)
        command = draw.choice(
            (
                CancelTask(task_id, mine),
                RetryTask(task_id, mine),
                DeleteTask(task_id, mine),
                ChangeTask(task_id, 0 if row is None else row.revision, TaskChanges(3), mine),
            )
        )
        try:
            found = await clients.ask(command)
        except TaskNotFound:
            pass
        except clients.away:
            return
        else:
            world.fail(f"{command} of another namespace is answered with {found}")
        if task.idempotency_key is None:
            return
        self._numbers += 1
        again = clients.new_task(
            Plan(self._numbers, calm=True),
            namespace=mine,
            idempotency_key=task.idempotency_key,
            request_digest="of a stranger",
        )
        try:
            duplicates = await clients.submit([again])
        except clients.away:
            return
        if (found := duplicates.get(again.task_id)) is not None:
            world.fail(f"{again} is answered with a task of another namespace: {found}")

    # When the faults have stopped

    async def probe(self, probes: Probes) -> None:
        """See that the few tasks of one namespace do not wait for half of another one's many."""
        world, clients = self._world, self._world.clients
        if not self.is_active or self._draw.random() < 0.7:
            return
        await clients.insist(SetNamespace("few", _MAX_WEIGHT, None))
        await probes.until_done(await probes.submit())  # so that it is known how long one takes
        await clients.insist("pause")
        heavy = self.one()
        many = [self._one_of(heavy) for _ in range(_MANY)]
        few = [self._one_of("few") for _ in range(_FEW)]
        tasks = [clients.new_task(plan, namespace=name) for plan, name in many + few]
        asked = clients.begin(clients.submit(tasks))
        await probes.until("submissions were answered", asked.done)
        await clients.insist("resume")
        for task in tasks:
            await probes.until_done(task.task_id)
        if any((task.task_id, 2) in world.claimed_at for task in tasks):
            return  # until it was lost, one has used up its namespace's share
        # By their claims: of what a runner got at once, the oldest begins first.
        claimed = [world.claimed_at[task.task_id, 1] for task in tasks]
        last = max(claimed[_MANY:])
        if sum(at < last for at in claimed[:_MANY]) > _MANY // 2:
            world.fail(f"the tasks of `few` were claimed late: {claimed}")

    def _one_of(self, name: str) -> tuple[Plan, str]:
        self._numbers += 1
        return Plan(self._numbers, calm=True), name

    def at_the_end(self) -> None:
        """See that the weights are in force that were set."""
        present = self._world.present_tracker
        if present is None or present.tracker is None:
            return
        steering = present.tracker.ticker.steering
        for name, weight in self._set.items():
            if steering.weight_of(name) != weight:
                self._world.fail(f"{name} weighs {steering.weight_of(name)}, and not {weight}")
