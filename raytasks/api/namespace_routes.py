"""The route of the namespaces."""

from fastapi import APIRouter
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import Reader
from raytasks.api.route_service import AWAY, Service, json_answer, problems_of
from raytasks.model.states import State
from raytasks.protocol.queries import NamespaceList


class NamespaceView(BaseModel):
    """A namespace, with how many tasks it has in each state that it has tasks in, exactly."""

    name: str
    by_state: dict[State, int]


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
        summary="List the namespaces that have tasks",
    )
    async def listed(caller: Reader) -> Response:
        """Return each namespace with its counts. A key that is bound to one sees that one alone.

        Task types that begin with `raytasks.` are not counted.
        """
        found = await service.backend.read(NamespaceList(caller.namespace))
        return json_answer(to_json({"namespaces": found}))

    return router
