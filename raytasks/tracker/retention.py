"""Retention: final tasks that are old enough are pruned, in small batches."""

import asyncio
import logging
from collections.abc import Callable

from raytasks.models import StoreUnavailable
from raytasks.tracker.core import Tracker

log = logging.getLogger(__name__)

BATCH = 500
"""How many tasks are pruned in one transaction, at the most."""

LOOK_SECONDS = 60.0
"""How often it is looked for tasks to prune."""

_PAUSE_SECONDS = 0.1  # between full batches: other work goes first


class Retention:
    """Prunes tasks that ended more than `seconds` ago, with their attempts and their files.

    `remove_files` deletes the files of a task (by id); it may block.
    """

    def __init__(
        self,
        tracker: Tracker,
        remove_files: Callable[[str], None],
        *,
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._tracker = tracker
        self._remove_files = remove_files
        self._seconds = seconds
        self._clock = clock

    async def run(self) -> None:
        """Prune for ever."""
        while True:
            pruned = 0
            try:
                pruned = await self.prune()
            except StoreUnavailable as error:
                log.warning("pruning has to wait: %s", error)
            except Exception:
                log.exception("tasks could not be pruned; trying again")
            await asyncio.sleep(_PAUSE_SECONDS if pruned == BATCH else LOOK_SECONDS)

    async def prune(self) -> int:
        """Prune one batch, and return how many tasks were looked at for it.

        Files go first: should this end in the middle, the rows are still there to find them by.
        A task whose files cannot be removed stays, and does not hold up the others.
        """
        before = self._clock() - self._seconds
        task_ids = await self._tracker.outdated(before, BATCH)
        if task_ids:
            without_files = await asyncio.to_thread(self._remove_all, task_ids)
            await self._tracker.prune(without_files, before)
            if not without_files:
                return 0  # no use in trying again at once
        return len(task_ids)

    def _remove_all(self, task_ids: list[str]) -> list[str]:
        """Remove the files of tasks, and return the ids of those where it was done."""
        done = []
        for task_id in task_ids:
            try:
                self._remove_files(task_id)
            except Exception as error:
                log.warning("the files of task %s cannot be removed: %r", task_id, error)
            else:
                done.append(task_id)
        return done
