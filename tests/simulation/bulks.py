"""Bulk operations that cancel or retry, and the judge of all that were made, deletions among them.

Deletions are made by `sweepers`.
"""

import asyncio
from typing import TYPE_CHECKING

from raytasks.model.bulk_operations import BulkAction, NewBulk
from raytasks.model.tasks import KeyConflict
from raytasks.protocol.commands import StartBulk
from raytasks.protocol.queries import BulkById
from tests.making import bulk_filter
from tests.simulation.account import Row

if TYPE_CHECKING:
    from tests.simulation.world import World


async def bulk_maker(world: "World") -> None:
    """Have all tasks of a namespace cancelled or retried that are there."""
    draw, clients, account = world.draw, world.clients, world.account
    await asyncio.sleep(draw.uniform(1.0, 6.0))
    action = draw.choice((BulkAction.CANCEL, BulkAction.RETRY))
    asked = bulk_filter(
        action, task_type=draw.choice((None, "short")), namespace=world.spaces.one()
    )
    bulk_id, now = clients.new_id(), world.wall(clients.process)
    bulk = NewBulk(bulk_id, asked, now, idempotency_key=f"bulk {bulk_id}")
    if action is BulkAction.CANCEL:
        account.bulk_cancels[asked.namespace] += 1
    else:
        account.bulk_retries[asked.namespace] += 1
    while True:
        try:
            made, _ = await clients.ask(StartBulk(bulk))
        except clients.away:
            await asyncio.sleep(draw.uniform(0.05, 0.5))
            continue
        except KeyConflict as error:
            world.fail(f"a bulk operation conflicts with itself: {error}")
            return
        if made.bulk_id != bulk.bulk_id:
            world.fail(f"{bulk} was made as {made}")
        clients.bulks.append(bulk)
        return


async def look_at_bulks(world: "World") -> None:
    """See that bulk operations are done, and have met all that was there."""
    rows, clients = world.checker.rows, world.clients
    for bulk in clients.bulks:
        revisions = world.checker.bulks[bulk.bulk_id]
        asked = BulkById(bulk.bulk_id, bulk.filter.namespace)
        found = await clients.begin(clients.insist(asked))
        if found is None or found.finished_at is None:
            world.fail(f"a bulk operation is not done: {found}")
        world.sweepers.look(found)
        older = sum(task_id < bulk.bulk_id for task_id in world.account.submitted)
        if found.looked_at > older:
            world.fail(f"of {older} tasks, a bulk operation has met more: {found}")
        for task_id, revision in revisions.items():
            row = rows.get(task_id)
            if row is None or task_id > bulk.bulk_id or row.revision != revision:
                continue
            if _is_meant(world, bulk, row):
                world.fail(f"{bulk} has passed over {row}")


def _is_meant(world: "World", bulk: NewBulk, row: Row) -> bool:
    """Return whether an operation had to change a task, which has not changed since then."""
    task, asked = world.account.submitted[row.task_id], bulk.filter.tasks
    action = bulk.filter.action
    if task.unique_spec is not None and action is BulkAction.RETRY:
        return False  # it is skipped if another has its key
    return (
        asked.takes_type(row.task_type)
        and row.namespace == asked.namespace
        and row.state in {state.value for state in asked.states or action.sources}
        and (asked.tag is None or f'"{asked.tag}"' in (task.tags or ""))
        and not (row.cancel_requested and action is BulkAction.CANCEL)
    )
