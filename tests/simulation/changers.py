"""Clients that change tasks that wait, and delete tasks that have ended."""

import asyncio
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

from raytasks.model.changes import TaskChanges
from raytasks.model.tasks import RevisionConflict, StateConflict, TaskNotFound
from raytasks.protocol.commands import ChangeTask, DeleteTask
from tests.simulation.account import WAITING
from tests.simulation.kinds import FORGETTING

if TYPE_CHECKING:
    from tests.simulation.clients import Clients
    from tests.simulation.world import World

_LOOKS = 40

_LATE_SECONDS = 12.0


def seconds_of_copies(world: "World", draw: Random) -> float:
    """Return how long after its submission nobody deletes a task, in many schedules.

    So few copies of submissions arrive at a tracker that does not know of the deletion.
    """
    may_forget = bool(FORGETTING & world.swarm.rates.keys())
    return draw.choice((0.0, _LATE_SECONDS, _LATE_SECONDS)) * may_forget


async def changer(clients: "Clients", task_id: str, away: tuple[type[Exception], ...]) -> None:
    """Change a task, as often as it is found waiting; and know what the answers mean."""
    world, draw = clients.world, clients.draw
    for _ in range(_LOOKS):
        await asyncio.sleep(draw.uniform(0.02, 0.3))
        row = world.checker.rows.get(task_id)
        if row is None:
            return
        if row.state not in WAITING:
            continue
        changes = _drawn(clients, task_id)
        asked = world.account.changes[task_id, row.revision]
        asked.append(changes)
        try:
            command = ChangeTask(task_id, row.revision, changes, row.namespace)
            after = await clients.ask(command)
        except (StateConflict, RevisionConflict):
            continue
        except away:
            continue
        except TaskNotFound:
            if task_id in world.checker.rows:
                world.fail(f"{task_id} is said not to exist")
            return
        if after.revision != row.revision + 1:
            world.fail(f"{command} is answered with {after}")


def _drawn(clients: "Clients", task_id: str) -> TaskChanges:
    world, draw = clients.world, clients.draw
    values: dict[str, Any] = {}
    if draw.random() < 0.6:
        values["priority"] = draw.choice((-5, 0, 3, 5))
    if draw.random() < 0.6 or not values:
        values["delay_seconds"] = draw.choice((0.0, 0.0, 0.3, 1.5))
    if world.flow.limits and draw.random() < 0.4:
        task = world.account.submitted[task_id]
        placed = world.flow.placed(task.task_type, draw.randrange(6), task.namespace)
        values["limit_values"] = placed["limit_values"]
    return TaskChanges(**values)


async def deleter(clients: "Clients", task_id: str, away: tuple[type[Exception], ...]) -> None:
    """Delete a task some time after it has completed; nobody can run it again."""
    world = clients.world
    await asyncio.sleep(seconds_of_copies(world, clients.draw))
    for _ in range(_LOOKS):
        await asyncio.sleep(clients.draw.uniform(0.5, 1.5))
        row = world.checker.rows.get(task_id)
        if row is None:
            return
        if row.state != "COMPLETED":
            continue
        world.account.deletes.add(task_id)
        try:
            await clients.ask(DeleteTask(task_id, row.namespace))
        except away:
            continue
        except TaskNotFound:
            is_gone = True
        else:
            is_gone = False
        if task_id in world.checker.rows:
            world.fail(f"{task_id} is said to be deleted, and is there")
        if not is_gone:  # as Ray may deliver it once more
            with suppress(*away):
                await clients.submit([world.account.submitted[task_id]])
        return
