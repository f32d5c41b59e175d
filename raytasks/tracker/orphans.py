"""The search for orphans: files that no task names, left by failed submissions and lost attempts.

A large payload is written before its task is committed. Its file stays if the process dies in
between, or if the answer to the submission is not known.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Sequence
from functools import partial

from raytasks.artifacts.artifact_store import ArtifactStore
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.queries import KnownTasks
from raytasks.store import files
from raytasks.store.transaction import Superseded
from raytasks.tracker.core import Tracker

log = logging.getLogger(__name__)

SWEEP_SECONDS = 6 * 3600.0
"""Seconds between two searches."""

AGE_SECONDS = 86_400.0
"""Minimum age of files without a task, in seconds: far longer than any submission takes."""

SEEN_SECONDS = 3600.0
"""Seconds for which files must be seen without a task before they go, whatever the wall clock
says. If their id does not tell its age, it is `AGE_SECONDS` instead."""

_TIMED_VERSIONS = (7, 8)
"""The versions of UUIDs that begin with a time: of tasks that are submitted, and of schedules."""

_CHUNK = 500
_RETRY_SECONDS = 60.0


class Orphans:
    """The search for files without a task. It gives them up; `Retention` removes them.

    Nothing is given up if another database has left its mark, because its tasks have files here
    too. The `clock` returns seconds since the epoch; `monotonic` measures durations.
    """

    def __init__(
        self,
        tracker: Tracker,
        artifacts: ArtifactStore,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tracker = tracker
        self._artifacts = artifacts
        self._clock = clock
        self._monotonic = monotonic
        self._seen: dict[str, float] = {}
        self._warned = False

    async def run(self) -> None:
        """Search repeatedly, until another tracker has taken over."""
        while True:
            seconds = SWEEP_SECONDS
            try:
                await self.sweep()
            except Superseded:
                return
            except StoreUnavailable:
                seconds = _RETRY_SECONDS
            except Exception as error:
                log.warning("files that belong to no task cannot be looked for: %r", error)
            await asyncio.sleep(seconds)

    async def sweep(self) -> list[str]:
        """Search once, and return the task ids whose files are given up.

        Raises `Superseded`, `StoreUnavailable`, and the artifact store's errors.
        """
        ticker = self._tracker.ticker
        mine = await ticker.access.write(ticker.store.database_id)
        await asyncio.to_thread(self._artifacts.mark_used_by, mine)
        task_ids, databases = await asyncio.to_thread(self._artifacts.overview)
        if databases - {mine}:
            if not self._warned:
                log.warning(
                    "other databases keep files in RAYTASKS_ARTIFACTS_URL too (%s), so files "
                    "that belong to no task stay; remove the mark of a database that is gone",
                    ", ".join(sorted(databases - {mine})),
                )
            self._warned = True
            return []
        needed = {name: seconds for name in task_ids if (seconds := self._needed(name)) is not None}
        lonely = await self._without_task(list(needed))
        now = self._monotonic()
        self._seen = {name: self._seen.get(name, now) for name in lonely}
        given_up = [name for name, since in self._seen.items() if now - since >= needed[name]]
        for start in range(0, len(given_up), _CHUNK):
            await self._give_up(given_up[start : start + _CHUNK])
        return given_up

    async def _without_task(self, task_ids: Sequence[str]) -> list[str]:
        lonely: list[str] = []
        store = self._tracker.ticker.store
        for start in range(0, len(task_ids), _CHUNK):
            some = task_ids[start : start + _CHUNK]
            known = await self._tracker.ticker.access.read(partial(store.read, KnownTasks(some)))
            lonely += [name for name in some if name not in known]
        return lonely

    async def _give_up(self, task_ids: Sequence[str]) -> None:
        ticker, now = self._tracker.ticker, self._clock()
        epoch = ticker.epoch

        def write() -> None:
            with ticker.store.transaction(now=now) as transaction:
                transaction.renew(epoch)
                known = files.known(transaction.connection, task_ids)
                keys = [(name, files.ALL) for name in task_ids if name not in known]
                files.mark(transaction.connection, keys, now)

        await ticker.access.write(write)
        log.info("files of %s tasks that are not there are given up", len(task_ids))

    def _needed(self, task_id: str) -> float | None:
        """Return for how many seconds files must be seen without a task; None if they are new.

        Our ids begin with the time in milliseconds. Others come from the outbox, and may be any.
        """
        made = uuid.UUID(task_id)
        if made.version not in _TIMED_VERSIONS:
            return AGE_SECONDS
        age = self._clock() - (made.int >> 80) / 1000
        if age < 0:  # the clock was set back, or this is no time
            return AGE_SECONDS
        return SEEN_SECONDS if age > AGE_SECONDS else None
