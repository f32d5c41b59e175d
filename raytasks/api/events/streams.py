"""Event streams: all that is sent to one client, from the first byte to the last."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from raytasks.api.events.event_views import (
    GAP_DATA,
    HEARTBEAT,
    RETRY,
    change_text,
    end_text,
    page_text,
    place_alone,
    present_text,
    sse,
)
from raytasks.api.route_service import Service
from raytasks.model.event_filter import ALL_EVENTS, EventFilter
from raytasks.model.task_events import EventId, EventQuery, TaskProgress
from raytasks.model.task_filter import is_reserved
from raytasks.model.tasks import DEFAULT_NAMESPACE, TaskNotFound
from raytasks.protocol.messages import Feed, StateChange

HEARTBEAT_SECONDS = 10.0
"""The longest silence of a stream, in seconds."""

_CHANGES_AT_ONCE = 500

Heard = TypeVar("Heard")
Place = tuple[int, int]
"""A place in the feed of all tasks: its epoch, and the number of a change."""


@dataclass(frozen=True)
class FeedFilter:
    """The filter of a client on the changes of all tasks: any of some types, with a tag."""

    namespace: str = DEFAULT_NAMESPACE
    task_types: frozenset[str] = frozenset()
    tag: str | None = None

    def takes(self, change: StateChange) -> bool:
        """Return whether the filter matches a change."""
        if change.namespace != self.namespace:
            return False
        if not self._takes_type(change.task_type):
            return False
        # The JSON list of tags has no escapes, and no tag has quotes in it.
        return self.tag is None or (change.tags is not None and f'"{self.tag}"' in change.tags)

    def _takes_type(self, task_type: str) -> bool:
        return task_type in self.task_types if self.task_types else not is_reserved(task_type)


async def task_stream(
    service: Service, query: EventQuery, wanted: EventFilter = ALL_EVENTS, *, follow: bool = True
) -> AsyncIterator[bytes]:
    """Yield the events of a task after a place: the past ones, then each new one, to its end.

    Events that are not `wanted` are left out. Without `follow` it ends after the past ones.

    Raises `TaskNotFound` and `StoreUnavailable`.
    """
    after: EventId | None = query.after
    told: TaskProgress | None = None
    known = False
    silence = _Silence()
    async with service.waiting_room.place():
        with service.watch.listening(query.task_id) as news:
            while True:
                news.clear()
                page = await service.events.read(EventQuery(query.task_id, after, query.namespace))
                if page is None and known:
                    return  # pruned meanwhile
                if page is None:
                    raise TaskNotFound(f"there is no task {query.task_id}")
                text = page_text(page, told, wanted)
                over = page.state.final and not page.more
                if over:
                    text += end_text(page)
                elif not (follow or page.more):
                    text, over = text + present_text(page), True
                if not known:
                    text, known = RETRY + text, True
                if text:
                    yield text
                    silence.broken()
                if over:
                    return
                if page.events:
                    after = page.events[-1].id
                if page.more:
                    continue
                told = page.progress
                while not await silence.heard(news.wait):
                    yield HEARTBEAT
                    silence.broken()


async def feed_stream(
    service: Service, after: Place | None, wanted: FeedFilter
) -> AsyncIterator[bytes]:
    """Yield the changes of state of all tasks after a place, or from now on, for ever.

    Raises `StoreUnavailable`.
    """
    async with service.waiting_room.place():
        with service.watch.following() as queue:
            feed = await service.events.changes(*(after or (0, -1)))
            if after is None:  # begin at the present place, without a gap
                feed = Feed(feed.epoch, feed.last)
            yield RETRY
            for text in _feed_texts(feed, 0, wanted):
                yield text
            place = told = (feed.epoch, feed.last)
            yield place_alone("{}:{}".format(*place))
            silence = _Silence()
            while True:
                pieces = await silence.heard(queue.get)
                if pieces is None:
                    yield HEARTBEAT if told == place else place_alone("{}:{}".format(*place))
                    told = place
                    silence.broken()
                    continue
                for piece in pieces:
                    if (piece.epoch, piece.last) <= place:
                        continue
                    if piece.gap or piece.epoch != place[0]:  # maybe no gap after this place
                        piece = await service.events.changes(*place)  # noqa: PLW2901
                    for text in _feed_texts(piece, place[1], wanted):
                        yield text
                        silence.broken()
                    place = (piece.epoch, piece.last)


def _feed_texts(feed: Feed, after: int, wanted: FeedFilter) -> list[bytes]:
    """Return the text of a piece of the feed: the wanted changes after a number."""
    texts = []
    if feed.gap:
        after = 0
        first = feed.changes[0].number - 1 if feed.changes else feed.last
        texts.append(sse("gap", GAP_DATA, f"{feed.epoch}:{first}"))
    blocks = [
        change_text(feed.epoch, change)
        for change in feed.changes
        if change.number > after and wanted.takes(change)
    ]
    starts = range(0, len(blocks), _CHANGES_AT_ONCE)
    return texts + [b"".join(blocks[start : start + _CHANGES_AT_ONCE]) for start in starts]


class _Silence:
    """The silence of a stream, which begins again with all that is sent, and with nothing else."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.broken()

    def broken(self) -> None:
        """Note that something was sent just now."""
        self._ends_at = self._loop.time() + HEARTBEAT_SECONDS

    async def heard(self, listen: Callable[[], Awaitable[Heard]]) -> Heard | None:
        """Return what `listen` returns, or None when it is time for a heartbeat."""
        if self._loop.time() >= self._ends_at:
            return None
        try:
            async with asyncio.timeout_at(self._ends_at):
                return await listen()
        except TimeoutError:
            return None
