"""Event streams that survive broken connections: each event is seen once, in order."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeAlias, TypeVar, cast

import httpx
from httpx_sse import ServerSentEvent

from raytasks.client import api
from raytasks.client.answers import (
    error_of,
    is_event_stream,
    is_temporary,
    retry_after,
    unavailable,
)
from raytasks.client.api_errors import ServiceUnavailable
from raytasks.client.documents import (
    EndData,
    LogData,
    LogPageDocument,
    ProgressData,
    ServiceLogData,
    StateData,
)
from raytasks.client.requests import Call, checked_event_id
from raytasks.model.tasks import RaytasksError

_MAX_PAUSE = 15.0
_USUAL_PAUSE = 1.0
_STEADY_SECONDS = 5.0
"""A stream that was open for this long, in seconds, was a good one, even without an event."""


@dataclass(frozen=True)
class StateEvent:
    """A task's change of state."""

    id: str
    data: StateData


@dataclass(frozen=True)
class LogEvent:
    """A line that the handler has logged."""

    id: str
    data: LogData


@dataclass(frozen=True)
class ProgressEvent:
    """The progress of the running attempt. Only the newest counts."""

    data: ProgressData


@dataclass(frozen=True)
class EndEvent:
    """The task has ended. This is the last event of a stream."""

    data: EndData


@dataclass(frozen=True)
class GapEvent:
    """Changes may have been missed: list the tasks again. In a log, lines are gone."""


@dataclass(frozen=True)
class ServiceLogEvent:
    """A line of the service's log."""

    id: str
    data: ServiceLogData


TaskEvent: TypeAlias = StateEvent | LogEvent | ProgressEvent | EndEvent
"""The events of one task's stream."""

FeedEvent: TypeAlias = StateEvent | GapEvent
"""The events of the feed of all tasks."""

ServiceLog: TypeAlias = ServiceLogEvent | GapEvent
"""The lines of the service's log. A gap says that lines before it are gone."""

E = TypeVar("E")


class Follower(Generic[E]):
    """Follows one stream over many connections, without input and output of its own.

    While it is not `over`, send its `next_call`. Pass it the head of the answer (`opened`) and each
    event (`take`): both yield what is new. If the connection breaks, call `broke`. Wait for
    `pause`, and begin again.
    """

    def __init__(
        self,
        call: Call,
        url: str,
        last_event_id: str | None,
        read: Callable[[str, str, Any], E | None],
        *,
        gap: E | None = None,
        on_open: Callable[[], None] | None = None,
    ) -> None:
        self.over = False
        self.listens = False
        self._call = call
        self._url = url
        self._last = None if last_event_id is None else checked_event_id(last_event_id)
        self._asked = self._last
        self._read = read
        self._gap = gap
        self._on_open = on_open
        self._progress: E | None = None
        self._usual_pause = _USUAL_PAUSE
        self._answer: httpx.Response | httpx.RequestError | None = None
        self._connections = 0
        self._tries = 0
        self._opened_at = self._lost_at = time.monotonic()

    def next_call(self) -> Call:
        """Return the next request. It continues after the last event that was seen."""
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        self._asked = self._last
        self.listens = False
        if self._last is not None:
            headers["Last-Event-ID"] = self._last
        return replace(self._call, headers=headers)

    def opened(self, response: httpx.Response) -> Iterator[E]:
        """Record an answer (read whole, unless a stream), and yield a gap event if it means one.

        Raises `ApiError`, or `ServiceUnavailable`, if a retry cannot help.
        """
        self._answer = response
        self.listens = is_event_stream(response)
        if not self.listens:
            if not is_temporary(self._call, response):
                raise error_of(response, self._url)
            return
        again = self._connections > 0
        self._connections += 1
        self._opened_at = time.monotonic()
        if self._on_open is not None:
            self._on_open()
        if again and self._asked is None and self._gap is not None:
            yield self._gap

    def take(self, sse: ServerSentEvent) -> Iterator[E]:
        """Record an event of the stream, and yield it if it is new."""
        self._tries = 0
        if sse.retry is not None:
            self._usual_pause = min(max(sse.retry / 1000, 0.0), _MAX_PAUSE)
        if sse.event == "message":
            return  # no event of ours: only an id or a pause
        if sse.event == "present":  # all events so far were sent, and no more were asked for
            self.over = True
            return
        try:
            event = self._read(sse.event, sse.id, sse.json())
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ServiceUnavailable(f"{self._url} sends events that make no sense") from error
        if event is None:
            return
        if isinstance(event, ProgressEvent):
            if event == self._progress:
                return  # sent again after a reconnect
            self._progress = event
        elif isinstance(event, StateEvent | LogEvent | ServiceLogEvent):
            if self._asked is not None and not _is_after(sse.id, self._asked):
                return
            if self._last is None or _is_after(sse.id, self._last):
                self._last = sse.id
        elif isinstance(event, GapEvent) and sse.id:
            self._last = sse.id
        self.over = isinstance(event, EndEvent)
        yield event

    def broke(self, error: httpx.RequestError) -> None:
        """Record that a connection broke, or failed."""
        self._answer = error

    def pause(self) -> float:
        """Return how long to wait before the next connection. Raises after PATIENCE_SECONDS.

        A service that never answered is given up sooner, like for any other request.
        """
        now = time.monotonic()
        if self.listens and now - self._opened_at >= _STEADY_SECONDS:
            self._tries = 0
        if self._tries == 0:
            self._lost_at = now
        tries, self._tries = self._tries, self._tries + 1
        if self._connections == 0:
            assert self._answer is not None
            pause = api.pause_before_next(self._call, self._answer, tries, 0.0)
            if pause is None:
                raise self._trouble()
            return pause
        asked = None
        if isinstance(self._answer, httpx.Response):
            asked = retry_after(self._answer)
        if (
            now - self._lost_at > api.PATIENCE_SECONDS
            or (asked or 0.0) > api.MAX_RETRY_AFTER_SECONDS
        ):
            raise self._trouble()
        pause = min(self._usual_pause * 2.0 ** min(tries, 10), _MAX_PAUSE)
        # Many clients lose their connections at the same time, and should not come back so.
        return max(pause * random.uniform(0.5, 1.0), asked or 0.0)  # noqa: S311 - no secret

    def _trouble(self) -> RaytasksError:
        if isinstance(self._answer, httpx.Response) and not self.listens:
            return error_of(self._answer, self._url)
        if isinstance(self._answer, httpx.RequestError):
            return unavailable(self._url, self._answer)
        return ServiceUnavailable(f"{self._url} closes the streams of events at once")


def task_follower(call: Call, url: str, last_event_id: str | None) -> Follower[TaskEvent]:
    """Return a follower for the events of a task."""
    return Follower(call, url, last_event_id, _task_event)


def feed_follower(
    call: Call, url: str, last_event_id: str | None, on_open: Callable[[], None] | None
) -> Follower[FeedEvent]:
    """Return a follower for the changes of state of all tasks."""
    return Follower(call, url, last_event_id, _feed_event, gap=GapEvent(), on_open=on_open)


def log_follower(call: Call, url: str, last_event_id: str | None) -> Follower[ServiceLog]:
    """Return a follower for the service's log."""
    return Follower(call, url, last_event_id, _log_event, gap=GapEvent())


def log_events(page: LogPageDocument) -> Iterator[ServiceLog]:
    """Yield the lines of a page of the service's log, after a gap if there is one."""
    if page["gap"]:
        yield GapEvent()
    for line in page["lines"]:
        yield ServiceLogEvent(line["id"], line)


def _log_event(kind: str, event_id: str, data: Any) -> ServiceLog | None:
    match kind:
        case "line":
            return ServiceLogEvent(_id(event_id), cast("ServiceLogData", _object(data)))
        case "gap":
            return GapEvent()
        case _:
            return None


def _task_event(kind: str, event_id: str, data: Any) -> TaskEvent | None:
    """Return an event of a task; None if this client does not know its kind."""
    document = _object(data)
    match kind:
        case "state":
            return StateEvent(_id(event_id), cast("StateData", document))
        case "log":
            return LogEvent(_id(event_id), cast("LogData", document))
        case "progress":
            return ProgressEvent(cast("ProgressData", document))
        case "end":
            return EndEvent(cast("EndData", document))
        case _:
            return None


def _feed_event(kind: str, event_id: str, data: Any) -> FeedEvent | None:
    match kind:
        case "state":
            return StateEvent(_id(event_id), cast("StateData", _object(data)))
        case "gap":
            return GapEvent()
        case _:
            return None


def _object(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise TypeError("not an object")
    return data


def _id(event_id: str) -> str:
    if not event_id:
        raise ValueError("an event without an id")
    return event_id


def _is_after(event_id: str, other: str) -> bool:
    """Return whether an event comes after another. The ids of two feeds cannot be compared.

    The ids of a task's events are `revision.number`, those of all tasks `epoch:number`.
    """
    separator = ":" if ":" in event_id else "."
    (first, _, second), (other_first, _, other_second) = (
        text.partition(separator) for text in (event_id, other)
    )
    try:
        if separator == ":":
            return first != other_first or int(second) > int(other_second)
        return (int(first), int(second)) > (int(other_first), int(other_second))
    except ValueError:
        return True
