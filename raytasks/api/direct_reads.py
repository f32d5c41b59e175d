"""What an API replica reads, straight from the tracker's database: the tracker alone writes."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from raytasks.api.coalescer import Coalescer
from raytasks.model.tasks import AttemptRecord, StoreUnavailable, Task
from raytasks.protocol.places import DatabasePlace
from raytasks.protocol.queries import Answer, Query, TaskDetail
from raytasks.store.store import Store
from raytasks.store.store_calls import HANGS, READ_SECONDS, StoreCalls, patiently
from raytasks.store.task_reads import POSTGRES_CONNECTIONS, PostgresPoints, SqlitePoints

log = logging.getLogger(__name__)

Result = TypeVar("Result")
Found = tuple[Task, list[AttemptRecord]]

MAX_TASKS = 100
"""At most how many tasks one statement reads."""

_OTHER_READS = 2
"""How many lists, pages of events and counts are read at a time."""


class DirectReads:
    """Reads of a database that somebody else has made and migrated. Nothing is written to it.

    Reads that take long, or travel, are made in threads: those of single tasks in some, all
    others in others, so that lists do not hold up whoever waits for a task. A task is read from an
    SQLite file on the event loop: that takes less time than the way to a thread and back.
    """

    def __init__(self, url: str) -> None:
        self._store = Store(url, reads_only=True)
        self._others = StoreCalls(_OTHER_READS, "reader", on_stuck=self._store.give_up_connections)
        self._file = SqlitePoints(url) if url.startswith("sqlite") else None
        self._server = None if self._file else _ServerPoints(url)

    async def owner(self) -> str | None:
        """Return whose the database is: what its epoch says of its tracker."""
        return (await self._in_thread(self._store.epoch_owner))[0]

    async def read(self, query: Query[Answer]) -> Answer:
        """Answer a query about what is stored. Raises `StoreUnavailable`."""
        if isinstance(query, TaskDetail):
            found: Any = await self._task(query.task_id)
            return cast("Answer", found)
        return await self._in_thread(lambda: self._store.read(query))

    async def _task(self, task_id: str) -> Found | None:
        if self._server is not None:
            return await self._server.task(task_id)
        try:
            assert self._file is not None
            return self._file.read(task_id)
        except StoreUnavailable:  # e.g. locked for a moment: wait for it, but not here
            return await self._in_thread(lambda: self._store.read(TaskDetail(task_id)))

    def close(self) -> None:
        """Close the connections. Who reads all the same, as it has begun to, opens new ones."""
        if self._file is not None:
            self._file.close()
        if self._server is not None:
            self._server.close()
        self._store.close()

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await self._others.make(patiently(call), READ_SECONDS)


class _ServerPoints:
    """Reads of single tasks that travel together: one statement, and one way, for many."""

    def __init__(self, url: str) -> None:
        self._points = PostgresPoints(url)
        self._calls = StoreCalls(
            POSTGRES_CONNECTIONS, "task-reader", on_stuck=self._points.give_up_connections
        )
        self._coalescer: Coalescer[str, Found | None] = Coalescer(
            self._read, max_weight=MAX_TASKS, max_calls=POSTGRES_CONNECTIONS
        )

    async def task(self, task_id: str) -> Found | None:
        try:
            # With the time that others' calls take.
            return await self._coalescer.ask(task_id, same=task_id, seconds=READ_SECONDS)
        except TimeoutError:
            raise StoreUnavailable(HANGS) from None

    async def _read(self, task_ids: Sequence[str]) -> list[Found | None]:
        read = patiently(lambda: self._points.read(task_ids))
        found = await self._calls.make(read, READ_SECONDS)
        return [found.get(task_id) for task_id in task_ids]

    def close(self) -> None:
        self._points.close()


async def open_reads(place: DatabasePlace, node_id: str) -> DirectReads | None:
    """Return the reads of the tracker's database from the node of this id, or None.

    None where it cannot be read from there, or is another one there: an SQLite file belongs to
    its node, and `localhost` is another server on each.
    """
    if place.is_bound_elsewhere(node_id) or ":///file:" in place.url:
        return None
    reads = DirectReads(place.url)
    try:
        if await reads.owner() == place.owner:
            return reads
        log.warning("the tracker's database is not the one that is reached from here")
    except Exception as error:
        log.warning("the tracker's database cannot be read from here: %s", error)
    reads.close()
    return None
