"""The routes of the event streams: of one task, and of all."""

import re
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from raytasks.api.auth import NamespaceQuery, Reader
from raytasks.api.events.event_views import FEED_EVENTS, TASK_EVENTS
from raytasks.api.events.stream import EventStream
from raytasks.api.events.streams import FeedFilter, feed_stream, task_stream
from raytasks.api.openapi import reference_to
from raytasks.api.problems import Problem
from raytasks.api.route_service import AWAY, Service, check_id, problems_of
from raytasks.api.routes import TaskId
from raytasks.handling.declaration_checks import TASK_TYPE
from raytasks.handling.submit_request import TAG
from raytasks.model.errors import FieldError
from raytasks.model.event_filter import EventFilter, EventKind, LogLevel
from raytasks.model.task_events import EventQuery

LastEventId = Annotated[
    str | None,
    Header(description="Go on after this event. Browsers send it by themselves."),
]

_TASK_PLACE = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})")
_FEED_PLACE = re.compile(r"([0-9]{1,15}):([0-9]{1,15})")


class EventsQuery(NamespaceQuery):
    """The query of a task's events."""

    last_event_id: str | None = Field(
        default=None, description="Like the header `Last-Event-ID`, which comes first."
    )


class TaskEventsQuery(EventsQuery):
    """The query of the events of one task."""

    follow: bool = Field(
        default=True, description="False: end with `present` once the events so far were sent."
    )
    type: list[EventKind] = Field(
        default_factory=list, description="Only such events; may be repeated. `end` always comes."
    )
    level: LogLevel = Field(
        default=LogLevel.DEBUG, description="Only log lines of this level or a higher one."
    )
    logs: bool = Field(default=True, description="Whether to send log lines.")


class AllEventsQuery(EventsQuery):
    """The query of the events of all tasks."""

    task_type: list[Annotated[str, Field(pattern=f"^{TASK_TYPE}$")]] = Field(
        default_factory=list, description="Only tasks of these types; may be repeated."
    )
    tag: str | None = Field(default=None, pattern=f"^{TAG}$")


def event_router(service: Service) -> APIRouter:
    """Return the router of the event streams. Include it before the router of the tasks."""
    router = APIRouter()

    @router.get(
        "/tasks/events",
        response_class=EventStream,
        responses=_streams(FEED_EVENTS),
        summary="Follow the changes of state of all tasks",
    )
    async def all_events(
        asked: Annotated[AllEventsQuery, Query()],
        caller: Reader,
        last_event_id: LastEventId = None,
    ) -> Response:
        """Send each change as it comes, for ever.

        `gap`: some changes were missed; list the tasks again.
        """
        after = _place_in(_FEED_PLACE, last_event_id, asked.last_event_id)
        wanted = FeedFilter(
            caller.namespace_for(asked.namespace), frozenset(asked.task_type), asked.tag
        )
        return EventStream(feed_stream(service, after, wanted))

    @router.get(
        "/tasks/{task_id}/events",
        response_class=EventStream,
        responses=_streams(TASK_EVENTS, HTTPStatus.NOT_FOUND),
        summary="Follow a task: its states, log lines and progress",
    )
    async def events(
        task_id: TaskId,
        asked: Annotated[TaskEventsQuery, Query()],
        caller: Reader,
        last_event_id: LastEventId = None,
    ) -> Response:
        """Send the events so far, then each new one, until the task is final."""
        wanted = EventFilter(frozenset(asked.type), asked.level, asked.logs)
        after = _place_in(_TASK_PLACE, last_event_id, asked.last_event_id)
        namespace = caller.namespace_for(asked.namespace)
        check_id(task_id)
        query = EventQuery(task_id, after, namespace)
        return EventStream(task_stream(service, query, wanted, follow=asked.follow))

    return router


def _place_in(
    form: "re.Pattern[str]", header: str | None, query: str | None
) -> tuple[int, int] | None:
    """Return the place after which to continue, None if none is given.

    Raises `Problem` 422 for a bad one.
    """
    name, text = ("Last-Event-ID", header) if header else ("?last_event_id", query)
    if not text:
        return None
    found = form.fullmatch(text)
    if found is None:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "the request is not valid",
            [FieldError(name, "must be the id of an event of this stream")],
        )
    return int(found[1]), int(found[2])


def _streams(
    shapes: dict[str, type[BaseModel]], *problems: HTTPStatus
) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of a stream of these events."""
    stream = {
        "schema": {"type": "string"},
        "x-events": {name: reference_to(shape) for name, shape in shapes.items()},
    }
    told = ", ".join(f"`{name}`" for name in shapes)
    return {
        200: {
            "description": f"Server-sent events: {told}. The data of each is JSON, of the shape "
            "in `x-events`; docs/events.md tells more.",
            "content": {EventStream.media_type: stream},
        },
        **problems_of(*problems, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
    }
