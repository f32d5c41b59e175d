"""Retention: old final tasks are pruned in small steps, and then their files are removed."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from raytasks.model.tasks import StoreUnavailable
from raytasks.store import act_rows, files, place_rows
from raytasks.store.files import FileKey
from raytasks.store.transaction import Superseded, Transaction
from raytasks.tracker.core import Tracker
from raytasks.tracker.pruning_pace import PruningPace

log = logging.getLogger(__name__)

T = TypeVar("T")

BATCH = 500
"""Number of tasks pruned in the first step, and of tasks whose files are removed together."""

LOOK_SECONDS = 60.0
"""Seconds between two looks for files to remove, and for old acts of the audit."""

AUDIT_DAYS = 90
"""Days for which the audit keeps what people did."""

RETRY_SECONDS = 3600.0
"""Seconds until files that could not be removed are tried again."""

_PAUSE_SECONDS = 0.1  # between full batches of files and acts: other work goes first


class Retention:
    """The pruning of tasks that ended more than `seconds` ago (None: none), and of their files.

    Rows go first; the same transaction records which of them have files. A task that is retried
    before it is pruned keeps everything; later it no longer exists. The files go afterwards, also
    after a restart.

    The function `remove_files` deletes all files of a task (by id), `remove_file` one file of
    raytasks itself (by id and name). Both may block, and run in at most `parallel` threads at a
    time.
    """

    def __init__(
        self,
        tracker: Tracker,
        remove_files: Callable[[str], None],
        *,
        seconds: float | None,
        clock: Callable[[], float],
        remove_file: Callable[[str, str], None] | None = None,
        parallel: int = 1,
    ) -> None:
        self._tracker = tracker
        self._remove_files = remove_files
        self._remove_file = remove_file
        self._seconds = seconds
        self._clock = clock
        self._parallel = parallel
        self._pace = PruningPace(seconds or 0.0, BATCH)
        self._rest = 0.0
        self._swept_at = -math.inf

    async def run(self) -> None:
        """Prune tasks and remove files until another tracker has taken over."""
        monotonic = self._tracker.ticker.monotonic
        while True:
            rest = self._pace.rest() if self._seconds is not None else LOOK_SECONDS
            try:
                if await self.prune():
                    rest = self._rest
                if monotonic() - self._swept_at >= LOOK_SECONDS:
                    more = await self.remove_due() == BATCH
                    more |= await self.prune_audit() == BATCH
                    more |= await self.prune_places() == BATCH
                    if more:
                        rest = min(rest, _PAUSE_SECONDS)
                    else:
                        self._swept_at = monotonic()
            except Superseded:
                return
            except StoreUnavailable as error:
                log.warning("pruning has to wait: %s", error)
            except Exception:
                log.exception("tasks could not be pruned; trying again")
            await asyncio.sleep(rest)

    async def prune(self) -> int:
        """Prune one step, and remove files; return the number of tasks looked at."""
        if self._seconds is None:
            return 0
        monotonic = self._tracker.ticker.monotonic
        before, size, began = self._clock() - self._seconds, self._pace.size, monotonic()
        ended = await self._tracker.expired(before, size)
        if ended:
            seconds = await self._tracker.prune(ended, before)
            await self.remove_due()
            if len(ended) == size:
                waited, late = monotonic() - began - seconds, before - min(ended.values())
                self._rest = self._pace.after_step(seconds, max(0.0, waited), late)
            else:
                self._rest = self._pace.rest()
        return len(ended)

    async def prune_audit(self) -> int:
        """Delete a batch of acts that the audit has kept long enough; return how many."""
        now = self._clock()
        before = now - AUDIT_DAYS * 86_400
        return await self._write(
            now, lambda writes: act_rows.forget(writes.connection, before, BATCH)
        )

    async def prune_places(self) -> int:
        """Delete a batch of the places that no kept attempt can have used; return how many."""
        if self._seconds is None:
            return 0
        now = self._clock()
        before = now - self._seconds
        return await self._write(
            now, lambda writes: place_rows.forget(writes.connection, before, BATCH)
        )

    async def remove_due(self) -> int:
        """Remove a batch of files that were given up; return how many were tried.

        Files that cannot be removed are tried again later, and do not delay others.
        """
        ticker, now = self._tracker.ticker, self._clock()
        keys = await ticker.access.read(lambda: ticker.store.files_due(now, BATCH))
        if not keys:
            return 0
        removed = await asyncio.to_thread(self._remove_all, keys)
        failed = [key for key in keys if key not in removed]
        retry_at = now + RETRY_SECONDS
        await self._write(
            now,
            lambda writes: files.done(writes.connection, list(removed), failed, retry_at),
        )
        return len(keys)

    async def _write(self, now: float, do: Callable[[Transaction], T]) -> T:
        """Return what `do` returns, in a transaction of this tracker's reign."""
        ticker = self._tracker.ticker
        epoch = ticker.epoch

        def write() -> T:
            with ticker.store.transaction(now=now) as transaction:
                transaction.renew(epoch)
                return do(transaction)

        return await ticker.access.write(write)

    def _remove_all(self, keys: Sequence[FileKey]) -> set[FileKey]:
        """Remove files, and return the keys of the removed ones."""
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="files") as pool:
            done = pool.map(self._removed, keys)
            return {key for key, removed in zip(keys, done, strict=True) if removed}

    def _removed(self, key: FileKey) -> bool:
        task_id, name = key
        try:
            if name == files.ALL:
                self._remove_files(task_id)
            elif self._remove_file is not None:
                self._remove_file(task_id, name)
            else:
                return False
        except Exception as error:
            log.warning("files of task %s cannot be removed yet: %r", task_id, error)
            return False
        return True
