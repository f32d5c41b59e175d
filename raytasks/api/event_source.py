"""Where streams get their events: what many clients ask for travels to the tracker together."""

import asyncio
from collections.abc import Sequence
from itertools import islice

from raytasks.api.backend import Backend
from raytasks.events import EventPage, EventQuery
from raytasks.models import Feed, StoreUnavailable

MOST_QUERIES = 100
"""How many queries go into one call, at the most."""

MOST_CALLS = 2
"""How many calls are on their way at a time, at the most. What comes in meanwhile gathers."""


class EventSource:
    """Gathers queries while calls are on their way; who asks for the same shares one answer."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._waiting: dict[EventQuery, asyncio.Future[EventPage | None]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._catching_up = asyncio.Semaphore(MOST_CALLS)

    async def read(self, query: EventQuery) -> EventPage | None:
        """Return what is there now; None: there is no such task. Raises `StoreUnavailable`."""
        answer = self._waiting.get(query)
        if answer is None:
            answer = self._waiting[query] = asyncio.get_running_loop().create_future()
            # Not at once: what others are about to ask, who heard the same, goes with it.
            asyncio.get_running_loop().call_soon(self._start_calls)
        return await asyncio.shield(answer)  # others may wait for it too

    async def changes(self, epoch: int, after: int) -> Feed:
        """Return the changes of all tasks after a place. Raises `StoreUnavailable`."""
        async with self._catching_up:
            feed = await self._backend.changes(epoch, after, 0.0)
        if not feed.epoch:
            raise StoreUnavailable("the tracker is starting; try again soon")
        return feed

    def _start_calls(self) -> None:
        while self._waiting and len(self._calls) < MOST_CALLS:
            batch = {
                query: self._waiting.pop(query)
                for query in list(islice(self._waiting, MOST_QUERIES))
            }
            call = asyncio.ensure_future(self._call(batch))
            self._calls.add(call)
            call.add_done_callback(self._call_done)

    def _call_done(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._start_calls()

    async def _call(self, batch: "dict[EventQuery, asyncio.Future[EventPage | None]]") -> None:
        answers = list(batch.values())
        try:
            pages: Sequence[EventPage | None] = await self._backend.events(list(batch))
        except asyncio.CancelledError:
            for answer in answers:
                answer.cancel()
            raise
        except Exception as error:
            for answer in answers:
                answer.set_exception(error)
                answer.exception()  # maybe nobody waits for it any more
            return
        for answer, page in zip(answers, pages, strict=True):
            answer.set_result(page)
