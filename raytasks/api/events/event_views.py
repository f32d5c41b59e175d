"""The events as clients see them: the models of the OpenAPI document, and the text that is sent."""

from functools import lru_cache
from typing import Any

from pydantic import AwareDatetime, BaseModel
from pydantic_core import to_json

from raytasks.model.event_filter import ALL_EVENTS, EventFilter
from raytasks.model.states import State
from raytasks.model.task_events import Event, EventPage, StateEntry, TaskProgress
from raytasks.model.time_text import rfc3339
from raytasks.protocol.messages import StateChange

RETRY = b"retry: 1000\n\n"
"""The head of a stream: how many milliseconds a client should wait before it reconnects."""

HEARTBEAT = b": \n\n"
GAP_DATA = b"{}"


class EventErrorView(BaseModel):
    """The reason why an attempt failed."""

    type: str
    message: str


class ChangeView(BaseModel):
    """Data of a `state` event: a task has changed its state.

    If a person made the change, `by` says who, and `action` how: `cancel` or `retry`. Both are
    null otherwise. `at` is null for a change that a person made before version 0.3.
    """

    task_id: str
    task_type: str
    namespace: str
    state: State
    attempt: int
    revision: int
    at: AwareDatetime | None
    by: str | None
    action: str | None


class StateEventView(ChangeView):
    """Data of a `state` event, with the outcome of the attempt that ended with this change."""

    outcome: str | None
    error: EventErrorView | None


class LogEventView(BaseModel):
    """Data of a `log` event: a line that the handler has logged."""

    attempt: int
    level: str
    message: str
    at: AwareDatetime


class ProgressEventView(BaseModel):
    """Data of a `progress` event: how far the attempt has come. Only the newest counts."""

    attempt: int
    fraction: float | None
    message: str | None


class EndEventView(BaseModel):
    """Data of the `end` event: the task is final, and the stream is over."""

    task_id: str
    state: State


class PresentEventView(BaseModel):
    """Data of the `present` event: the events so far were sent, and the stream is over."""

    task_id: str
    state: State


class GapEventView(BaseModel):
    """Data of a `gap` event: changes were missed; list the tasks again."""


TASK_EVENTS: dict[str, type[BaseModel]] = {
    "state": StateEventView,
    "log": LogEventView,
    "progress": ProgressEventView,
    "end": EndEventView,
    "present": PresentEventView,
}
FEED_EVENTS: dict[str, type[BaseModel]] = {"state": ChangeView, "gap": GapEventView}
SHAPES = (*TASK_EVENTS.values(), *FEED_EVENTS.values())


def sse(event: str, data: bytes, place: str | None = None) -> bytes:
    """Return an event as it is sent. JSON has no line breaks, so the data is one line."""
    head = f"event: {event}\n" if place is None else f"event: {event}\nid: {place}\n"
    return b"".join((head.encode(), b"data: ", data, b"\n\n"))


def place_alone(place: str) -> bytes:
    """Return a block that is no event: it only tells the client after which place to continue."""
    return f": \nid: {place}\n\n".encode()


def page_text(
    page: EventPage, told: TaskProgress | None, wanted: EventFilter = ALL_EVENTS
) -> bytes:
    """Return the wanted events of a page, and the progress if it differs from `told`."""
    blocks = [event_text(page, event) if wanted.takes(event) else b"" for event in page.events]
    place = _place_of_progress(page) if wanted.takes_progress else None
    if page.progress is not None and place is not None and page.progress != told:
        blocks.insert(place, _progress_text(page.progress))
    return b"".join(blocks)


def event_text(page: EventPage, event: Event) -> bytes:
    """Return an event of a task as it is sent."""
    place = "{}.{}".format(*event.id)
    if isinstance(event, StateEntry):
        return sse("state", to_json(_state(page, event)), place)
    data = {
        "attempt": event.attempt,
        "level": event.level,
        "message": event.message,
        "at": rfc3339(event.at),
    }
    return sse("log", to_json(data), place)


def end_text(page: EventPage) -> bytes:
    """Return the last event of a final task."""
    return sse("end", to_json({"task_id": page.task_id, "state": page.state.value}))


def present_text(page: EventPage) -> bytes:
    """Return the last event of a stream that does not go on."""
    return sse("present", to_json({"task_id": page.task_id, "state": page.state.value}))


@lru_cache(maxsize=1024)
def change_text(epoch: int, change: StateChange) -> bytes:
    """Return an entry of the feed as it is sent.

    It is cached, since many clients get the same.
    """
    data = {
        "task_id": change.task_id,
        "task_type": change.task_type,
        "namespace": change.namespace,
        "state": change.state.value,
        "attempt": change.attempt,
        "revision": change.revision,
        "at": rfc3339(change.at),
        "by": change.by,
        "action": change.action,
    }
    return sse("state", to_json(data), f"{epoch}:{change.number}")


def _state(page: EventPage, event: StateEntry) -> dict[str, Any]:
    error = None
    if event.error is not None:
        error = {"type": event.error[0], "message": event.error[1]}
    return {
        "task_id": page.task_id,
        "task_type": page.task_type,
        "namespace": page.namespace,
        "state": event.state.value,
        "attempt": event.attempt,
        "revision": event.revision,
        "at": rfc3339(event.at),
        "by": event.by,
        "action": event.action,
        "outcome": event.outcome,
        "error": error,
    }


def _progress_text(progress: TaskProgress) -> bytes:
    data = {
        "attempt": progress.attempt,
        "fraction": progress.fraction,
        "message": progress.message,
    }
    return sse("progress", to_json(data))


def _place_of_progress(page: EventPage) -> int | None:
    """Return the index of the event before which the latest attempt's progress belongs.

    That is the attempt's end, or the end of the page while it runs. None if neither is on this
    page.
    """
    if page.more or page.progress is None:
        return None
    if page.state is State.RUNNING:
        return len(page.events)
    ends = (
        index
        for index, event in enumerate(page.events)
        if isinstance(event, StateEntry)
        and event.outcome is not None
        and event.attempt == page.progress.attempt
    )
    return next(ends, None)
