"""The route of the groups of failures."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import NamespaceQuery, Reader
from raytasks.api.route_service import AWAY, Service, json_answer, problems_of
from raytasks.handling.declaration_checks import TASK_TYPE
from raytasks.model.time_text import rfc3339
from raytasks.protocol.queries import ErrorList


class ErrorsQuery(NamespaceQuery):
    """The query of the groups of failures."""

    task_type: str | None = Field(default=None, pattern=f"^{TASK_TYPE}$")


class ErrorGroupView(BaseModel):
    """The tasks of a type that are FAILED now, with one class of error.

    `first_at` and `last_at` are when the first and the last of them failed. The latter is
    `newest_task_id`, and `message` that of its error. The list `hours` counts those that failed in
    each of 24 hours, the present one last.
    """

    task_type: str
    error_type: str
    count: int
    first_at: AwareDatetime
    last_at: AwareDatetime
    newest_task_id: str
    message: str
    hours: list[int]


class ErrorGroupsView(BaseModel):
    """The groups, the largest first, at most 100; `omitted` is how many more there are.

    The first of the `hours` begins at `since`.
    """

    since: AwareDatetime
    groups: list[ErrorGroupView]
    omitted: int


def error_router(service: Service) -> APIRouter:
    """Return the router of `/errors`."""
    router = APIRouter()

    @router.get(
        "/errors",
        response_model=ErrorGroupsView,
        responses=problems_of(HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="Group the FAILED tasks by type and class of error",
    )
    async def listed(asked: Annotated[ErrorsQuery, Query()], caller: Reader) -> Response:
        """Return what fails, and since when.

        To see the tasks of a group, list them by `task_type`, `error_type` and the state FAILED. A
        bulk retry takes the same filter. Tasks that failed before version 0.3 are in no group.
        """
        namespace = caller.namespace_for(asked.namespace)
        query = ErrorList(namespace, asked.task_type, service.clock())
        found = await service.backend.read(query)
        groups = [
            {
                "task_type": group.task_type,
                "error_type": group.error_type,
                "count": group.count,
                "first_at": rfc3339(group.first_at),
                "last_at": rfc3339(group.last_at),
                "newest_task_id": group.newest_task_id,
                "message": group.message,
                "hours": group.hours,
            }
            for group in found.groups
        ]
        body = {"since": rfc3339(found.since), "groups": groups, "omitted": found.omitted}
        return json_answer(to_json(body))

    return router
