"""The routes of pauses: of a type, a namespace, both, or the whole service."""

from http import HTTPStatus

from fastapi import APIRouter, Request
from pydantic import AwareDatetime, BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import ServiceOperator
from raytasks.api.route_service import (
    AWAY,
    Service,
    body_extra,
    json_answer,
    problems_of,
    schema_of,
)
from raytasks.api.steering_bodies import SETTING_PROBLEMS, PauseRequest, ScopeRequest, read_body
from raytasks.model.callbacks import CALLBACK_TYPE
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.protocol.commands import PauseWork, ResumeWork
from raytasks.protocol.queries import PauseList

_READ = problems_of(HTTPStatus.FORBIDDEN, AWAY)


class PauseView(BaseModel):
    """A pause. Its namespace and type are null where it holds for all of them.

    - `until`: when it ends by itself; null: when a person ends it.
    - `drain`: a deployment ends it as well.
    - `waiting`: how many tasks it holds back.
    """

    namespace: str | None
    task_type: str | None
    since: AwareDatetime
    until: AwareDatetime | None
    by: str
    drain: bool
    waiting: int


class PausesView(BaseModel):
    """The pauses in force, the widest first."""

    pauses: list[PauseView]


class ResumedView(PausesView):
    """The answer to `POST /resume`: whether it ended a pause, and the pauses still in force."""

    ended: bool


def pause_router(service: Service) -> APIRouter:
    """Return the router of these endpoints."""
    router = APIRouter()

    @router.get("/pauses", response_model=PausesView, responses=_READ, summary="List the pauses")
    async def listed(_caller: ServiceOperator) -> Response:
        """Return the pauses in force, each with how many tasks it holds back."""
        return json_answer(to_json({"pauses": await service.backend.read(PauseList())}))

    @router.post(
        "/pause",
        response_model=PausesView,
        responses=SETTING_PROBLEMS,
        summary="Hand out no tasks of a type, a namespace, or the whole service",
        openapi_extra=body_extra(schema_of(PauseRequest)),
    )
    async def pause(request: Request, caller: ServiceOperator) -> Response:
        """Pause. Tasks are still accepted, and what runs goes on. Return all pauses in force.

        It lasts through restarts and deployments. A pause of the same type and namespace is
        replaced. When the answer comes, no such task is being handed out any more.
        """
        asked = await read_body(request, service, PauseRequest)
        _check_type(service, asked.task_type)
        command = PauseWork(
            asked.namespace or "", asked.task_type or "", asked.seconds, caller.name
        )
        await service.backend.execute(command)
        return json_answer(to_json({"pauses": await service.backend.read(PauseList())}))

    @router.post(
        "/resume",
        response_model=ResumedView,
        responses=SETTING_PROBLEMS,
        summary="End a pause",
        openapi_extra=body_extra(schema_of(ScopeRequest)),
    )
    async def resume(request: Request, caller: ServiceOperator) -> Response:
        """End the pause of exactly this type and namespace, or that of the whole service."""
        asked = await read_body(request, service, ScopeRequest)
        command = ResumeWork(asked.namespace or "", asked.task_type or "", caller.name)
        ended = await service.backend.execute(command)
        pauses = await service.backend.read(PauseList())
        return json_answer(to_json({"ended": ended is not None, "pauses": pauses}))

    return router


def _check_type(service: Service, task_type: str | None) -> None:
    """Refuse a type without a handler: most likely it is misspelt. Raises `InvalidSubmission`."""
    if task_type is None or task_type == CALLBACK_TYPE:
        return
    if service.registry.get(task_type) is not None:
        return
    nearest = service.registry.nearest(task_type)
    hint = f"did you mean {nearest!r}?" if nearest else "GET /task-types lists those that have one"
    message = f"there is no handler for it in this version; {hint}"
    raise InvalidSubmission("the request is not valid", [FieldError("/task_type", message)])
