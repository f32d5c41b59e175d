"""The route of the service's log: a page of it, or a stream that goes on."""

import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import ServiceOperator
from raytasks.api.events.event_views import GAP_DATA, HEARTBEAT, RETRY, place_alone, sse
from raytasks.api.events.stream import EventStream
from raytasks.api.log_views import LOG_EVENTS, LogPageView
from raytasks.api.openapi import reference_to
from raytasks.api.problems import Problem
from raytasks.api.route_service import AWAY, Service, json_answer, problems_of
from raytasks.handling.declaration_checks import TASK_TYPE
from raytasks.model.bounds import NAMESPACE
from raytasks.model.errors import FieldError
from raytasks.model.time_text import rfc3339
from raytasks.observe.log_format import ordered
from raytasks.protocol.queries import LogLines
from raytasks.protocol.service_log import MAX_LINES, LogFilter, LogPage, ServiceLine

POLL_SECONDS = 5.0
"""The longest silence of a stream, in seconds."""

_NEWEST = 200
_PLACE = re.compile(r"([0-9]{1,15}):([0-9]{1,15})")
_ACCEPTS_STREAM = "text/event-stream"


class ServiceLogQuery(BaseModel):
    """The query of the log."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(
        default=None,
        pattern=f"^{_PLACE.pattern}$",
        description="Only lines after this one: the id of a line, or the `next` of a page.",
    )
    lines: int = Field(
        default=_NEWEST, ge=0, le=MAX_LINES, description="Without `after`: so many of the newest."
    )
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] | None = Field(
        default=None, description="Only lines of this level and above."
    )
    task_type: str | None = Field(default=None, pattern=f"^{TASK_TYPE}$")
    namespace: str | None = Field(
        default=None,
        pattern=f"^{NAMESPACE}$",
        description="Leave out lines about other namespaces.",
    )


def log_router(service: Service) -> APIRouter:
    """Return the router of `/logs`."""
    router = APIRouter()

    @router.get(
        "/logs",
        response_model=LogPageView,
        responses=_answers(),
        summary="Read the service's log, or follow it",
    )
    async def logs(
        asked: Annotated[ServiceLogQuery, Query()],
        _caller: ServiceOperator,
        accept: Annotated[str, Header(include_in_schema=False)] = "",
        last_event_id: Annotated[
            str | None, Header(description="Like `after`, for a stream. It comes first.")
        ] = None,
    ) -> Response:
        """Return a page of the log; with `Accept: text/event-stream` send its lines as they come.

        The tracker keeps its newest 10,000 lines.
        """
        place = _place_of(last_event_id or asked.after)
        if _ACCEPTS_STREAM in accept:
            return EventStream(log_stream(service, asked, place))
        return json_answer(to_json(_page(await service.backend.read(_query(asked, place)))))

    return router


async def log_stream(
    service: Service, asked: ServiceLogQuery, place: tuple[int, int] | None
) -> AsyncIterator[bytes]:
    """Yield the lines after a place, or the newest ones; then each new one, for ever.

    Raises `StoreUnavailable`.
    """
    async with service.waiting_room.place():
        first = True
        while True:
            page = await service.backend.read(_query(asked, place, 0 if first else POLL_SECONDS))
            # The stream of another process of the tracker begins with its first line.
            blocks = [RETRY] if first else []
            if page.gap:
                blocks.append(sse("gap", GAP_DATA))
            blocks += [
                sse("line", to_json(_line(page, item)), _id(page, item)) for item in page.lines
            ]
            if not page.lines:
                same = place == (page.stream, page.last)
                blocks.append(HEARTBEAT if same else place_alone(f"{page.stream}:{page.last}"))
            yield b"".join(blocks)
            first, place = False, (page.stream, page.last)


def _query(asked: ServiceLogQuery, place: tuple[int, int] | None, seconds: float = 0.0) -> LogLines:
    stream, after = place or (0, 0)
    wanted = LogFilter(asked.level, asked.task_type, asked.namespace)
    return LogLines(stream, after, asked.lines, wanted, seconds)


def _page(page: LogPage) -> dict[str, Any]:
    return {
        "lines": [_line(page, item) for item in page.lines],
        "next": f"{page.stream}:{page.last}",
        "gap": page.gap,
        "more": page.more,
    }


def _line(page: LogPage, line: ServiceLine) -> dict[str, Any]:
    return {
        "id": _id(page, line),
        "at": rfc3339(line.at),
        "level": line.level,
        "message": line.message,
        "fields": dict(ordered(line.fields)),
    }


def _id(page: LogPage, line: ServiceLine) -> str:
    return f"{page.stream}:{line.number}"


def _place_of(text: str | None) -> tuple[int, int] | None:
    """Return the place that a text names. Raises `Problem` 422."""
    if text is None:
        return None
    found = _PLACE.fullmatch(text)
    if found is None:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "the request is not valid",
            [FieldError("Last-Event-ID", "must be the id of a line of the log")],
        )
    return int(found[1]), int(found[2])


def _answers() -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of the answers."""
    stream = {
        "schema": {"type": "string"},
        "x-events": {name: reference_to(shape) for name, shape in LOG_EVENTS.items()},
    }
    return {
        200: {
            "description": "A page of lines; or, if the request accepts it, server-sent events "
            "(`line`, `gap`), whose data have the shapes in `x-events`.",
            "content": {_ACCEPTS_STREAM: stream},
        },
        **problems_of(HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
    }
