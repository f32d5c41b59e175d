"""The source of events for all streams: queries of many clients share calls to the tracker."""

import asyncio
from collections.abc import Sequence

from raytasks.api.backend import Backend
from raytasks.api.coalescer import Coalescer
from raytasks.model.task_events import EventPage, EventQuery
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.messages import Feed
from raytasks.protocol.queries import TaskEvents

MAX_QUERIES = 100
"""Maximum number of queries in one call."""

MAX_CALLS = 2
"""Maximum number of concurrent calls. Queries that come meanwhile are gathered."""


class EventSource:
    """Reads the events of tasks, and the feed of all."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pages: Coalescer[EventQuery, EventPage | None] = Coalescer(
            self._ask, max_weight=MAX_QUERIES, max_calls=MAX_CALLS
        )
        self._catching_up = asyncio.Semaphore(MAX_CALLS)

    async def read(self, query: EventQuery) -> EventPage | None:
        """Return the events so far; None if there is no such task. Raises `StoreUnavailable`."""
        return await self._pages.ask(query, same=query)

    async def _ask(self, queries: Sequence[EventQuery]) -> list[EventPage | None]:
        return await self._backend.read(TaskEvents(queries))

    async def changes(self, epoch: int, after: int) -> Feed:
        """Return the changes of all tasks after a place. Raises `StoreUnavailable`."""
        async with self._catching_up:
            feed = await self._backend.changes(epoch, after, 0.0)
        if not feed.epoch:
            raise StoreUnavailable("the tracker is starting; try again soon")
        return feed
