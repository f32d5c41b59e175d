"""The routes of the namespaces: what is in them, and their shares."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import Reader, ServiceOperator
from raytasks.api.problems import Problem
from raytasks.api.route_service import (
    AWAY,
    Service,
    body_extra,
    json_answer,
    problems_of,
    schema_of,
)
from raytasks.api.steering_bodies import SETTING_PROBLEMS, ShareRequest, read_body
from raytasks.model.bounds import NAMESPACE
from raytasks.model.states import State
from raytasks.protocol.commands import ClearNamespace, SetNamespace
from raytasks.protocol.queries import NamespaceList

NamespaceName = Annotated[str, Path(pattern=f"^{NAMESPACE}$")]

_CLEAR = problems_of(
    HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY
)
_CHANGE = {**SETTING_PROBLEMS, **_CLEAR}


class NamespaceView(BaseModel):
    """A namespace, with how many tasks it has in each state that it has tasks in, exactly.

    `weight` is its share of run time, 1 by default. `max_backlog` is how many of its tasks may
    wait; null: no bound of its own.
    """

    name: str
    by_state: dict[State, int]
    weight: float
    max_backlog: int | None


class NamespacesView(BaseModel):
    """The namespaces, by name."""

    namespaces: list[NamespaceView]


def namespace_router(service: Service) -> APIRouter:
    """Return the router of `/namespaces`."""
    router = APIRouter()

    @router.get(
        "/namespaces",
        response_model=NamespacesView,
        responses=problems_of(AWAY),
        summary="List the namespaces that have tasks, or a share",
    )
    async def listed(caller: Reader) -> Response:
        """Return each namespace with its counts. A key that is bound to one sees that one alone.

        Task types that begin with `raytasks.` are not counted.
        """
        found = await service.backend.read(NamespaceList(caller.namespace))
        return json_answer(to_json({"namespaces": found}))

    @router.put(
        "/namespaces/{name}",
        response_model=NamespaceView,
        responses=_CHANGE,
        summary="Set the share of a namespace",
        openapi_extra=body_extra(schema_of(ShareRequest)),
    )
    async def change(name: NamespaceName, request: Request, caller: ServiceOperator) -> Response:
        """Set both values, at once and until `DELETE`. The namespace need not have tasks yet."""
        asked = await read_body(request, service, ShareRequest)
        command = SetNamespace(name, asked.weight, asked.max_backlog, caller.name)
        await service.backend.execute(command)
        return json_answer(to_json(await _one(service, name)))

    @router.delete(
        "/namespaces/{name}",
        response_model=NamespaceView,
        responses=_CLEAR,
        summary="Return to the default share of a namespace",
    )
    async def clear(name: NamespaceName, caller: ServiceOperator) -> Response:
        """Give it the weight 1 again, and no bound of its own. Its tasks stay."""
        found = await _one(service, name)
        await service.backend.execute(ClearNamespace(name, caller.name))
        return json_answer(to_json({**found, "weight": 1.0, "max_backlog": None}))

    return router


async def _one(service: Service, name: str) -> dict[str, Any]:
    found = await service.backend.read(NamespaceList(name))
    if not found:
        raise Problem(
            HTTPStatus.NOT_FOUND, f"the namespace {name} has no tasks and no share of its own"
        )
    return found[0]
