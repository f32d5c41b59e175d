"""Sweepers: people who have ended tasks deleted in bulk, by a filter."""

import asyncio
from random import Random
from typing import TYPE_CHECKING

from raytasks.model.bulk_operations import BulkAction, BulkOperation, NewBulk
from raytasks.model.states import State
from raytasks.protocol.commands import StartBulk
from tests.making import bulk_filter
from tests.simulation.account import Row, Sweep
from tests.simulation.changers import seconds_of_copies

if TYPE_CHECKING:
    from tests.simulation.world import World

SHARE = 0.25
"""In how many schedules there are sweepers."""

_STATES = (None, None, State.COMPLETED, State.FAILED, State.CANCELLED)


class Sweepers:
    """The sweepers of one schedule."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._draw = Random(f"sweepers {world.seed}")
        self.is_active = self._draw.random() < SHARE

    def begin(self) -> None:
        """Begin to delete, in some schedules."""
        if self.is_active:
            for number in range(self._draw.choice((1, 2))):
                self._world.clients.begin(self._sweep(number))

    async def _sweep(self, number: int) -> None:
        world, draw, clients = self._world, self._draw, self._world.clients
        await asyncio.sleep(draw.uniform(0.5, 6.0))
        bulk_id = clients.new_id()  # later tasks are none of its
        await asyncio.sleep(draw.uniform(0.0, 2.0) + seconds_of_copies(world, draw))
        asked = bulk_filter(
            BulkAction.DELETE,
            state=draw.choice(_STATES),
            task_type=draw.choice((None, None, "short")),
            namespace=world.spaces.one(),
        )
        now = world.wall(clients.process)
        bulk = NewBulk(bulk_id, asked, now, idempotency_key=f"sweep {number}")
        states = {state.value for state in asked.tasks.states}
        sweep = Sweep(bulk_id, asked.namespace, asked.tasks.task_type, states)
        world.account.sweeps[bulk_id] = sweep
        made, _ = await clients.insist(StartBulk(bulk))
        if made.bulk_id != bulk_id:
            world.fail(f"{bulk} was made as {made}")
        clients.bulks.append(bulk)

    def look(self, done: BulkOperation) -> None:
        """See that an operation that is done has deleted as many as it says."""
        world = self._world
        sweep = world.account.sweeps.get(done.bulk_id)
        if sweep is None:
            return
        gone = [row for row in world.checker.gone.values() if sweep.takes(row)]
        if done.changed > len(gone):
            world.fail(f"{done} says more than {len(gone)} that are gone: {gone}")
        if done.changed < sum(map(self._only_once, gone)):
            world.fail(f"{done} says less than the {len(gone)} that it has deleted: {gone}")

    def _only_once(self, row: Row) -> bool:
        """Return whether nothing else can have deleted a task than one operation."""
        account = self._world.account
        if account.pruning_after is not None or row.task_id in account.deletes:
            return False
        return sum(sweep.takes(row) for sweep in account.sweeps.values()) == 1
