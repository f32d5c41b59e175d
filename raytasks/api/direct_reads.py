"""Direct reads: an API replica reads the tracker's database itself. Only the tracker writes."""

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
"""Maximum number of tasks that one statement reads."""

_OTHER_READS = 2
"""Maximum number of concurrent reads of lists, event pages and counts."""


class DirectReads:
    """Reads of a database that another process has made and migrated. Nothing is written to it.

    Slow reads, and reads over a network, run in threads. Reads of single tasks have their own
    threads, so that lists do not delay a client that waits for a task. A task in an SQLite file is
    read on the event loop: that is faster than to switch to a thread and back.
    """

    def __init__(self, url: str) -> None:
        self._store = Store(url, reads_only=True)
        self._others = StoreCalls(_OTHER_READS, "reader", on_stuck=self._store.give_up_connections)
        self._file = SqlitePoints(url) if url.startswith("sqlite") else None
        self._server = None if self._file else _ServerPoints(url)

    async def owner(self) -> str | None:
        """Return the owner of the database: the tracker that its epoch names."""
        return (await self._in_thread(self._store.epoch_owner))[0]

    async def read(self, query: Query[Answer]) -> Answer:
        """Answer a query about stored data. Raises `StoreUnavailable`."""
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
        except StoreUnavailable:  # e.g. locked for a moment: wait for it in a thread
            return await self._in_thread(lambda: self._store.read(TaskDetail(task_id)))

    def close(self) -> None:
        """Close the connections. A read that has begun already opens new ones."""
        if self._file is not None:
            self._file.close()
        if self._server is not None:
            self._server.close()
        self._store.close()

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        return await self._others.make(patiently(call), READ_SECONDS)


class _ServerPoints:
    """Batched reads of single tasks: one statement, in one round trip, for many."""

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
            # Includes the time of other callers' reads.
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

    It is None if this node cannot read the database, or has another one at the same URL. An SQLite
    file belongs to its node, and `localhost` is another server on each node.
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
