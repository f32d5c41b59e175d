"""Admission of clients' commands to a full backlog, and the wait for an answer."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from raytasks.model.tasks import BacklogFull, NewTask, StoreUnavailable
from raytasks.protocol.queries import KnownTasks
from raytasks.tracker.access import AWAY, StoreAccess
from raytasks.tracker.inbox import Action, Pruning, Submission


async def that_fit(
    access: StoreAccess, tasks: Sequence[NewTask], room: Callable[[], int]
) -> Sequence[NewTask]:
    """Return the new tasks that are not stored yet, if the backlog has room for them.

    `room` returns how many more tasks may wait. Two kinds of task need no room: one whose
    idempotency key is taken, and one that is already stored and was sent again by Ray. Raises
    `BacklogFull`, `StoreUnavailable`.
    """
    store = access.store
    known = await access.read(lambda: store.read(KnownTasks([task.task_id for task in tasks])))
    new = [task for task in tasks if task.task_id not in known]
    repeated = await access.read(lambda: store.duplicates(new))
    asked, left = len(new) - len(repeated), max(0, room())
    if asked > left:
        raise BacklogFull(
            f"the backlog is full: MAX_BACKLOG has room for {left} more, and {asked} were submitted"
        )
    return new


async def answer_of(command: Submission | Action | Pruning, seconds: float) -> Any:
    """Wait at most `seconds` for the answer to a command. Raises `StoreUnavailable`.

    A command that has waited too long, and is in no tick yet, is dropped.
    """
    try:
        async with asyncio.timeout(seconds):
            return await command.answer
    except TimeoutError:
        command.expired = True
        raise StoreUnavailable(AWAY) from None
