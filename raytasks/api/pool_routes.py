"""The routes of the pools: what they have to do, and their sizes at run time."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import AwareDatetime, BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import ServiceOperator
from raytasks.api.problems import Problem
from raytasks.api.route_service import (
    AWAY,
    Service,
    body_extra,
    json_answer,
    problems_of,
    schema_of,
)
from raytasks.api.steering_bodies import SETTING_PROBLEMS, SizesRequest, read_body
from raytasks.model.handler_info import REMOTE_POOL
from raytasks.protocol.commands import ClearPool, SetPool
from raytasks.protocol.queries import PoolList

PoolName = Annotated[str, Path(description="The pool's name, as `GET /pools` has it.")]

_READ = problems_of(HTTPStatus.FORBIDDEN, AWAY)
_CLEAR = {**_READ, **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT)}
_CHANGE = {**SETTING_PROBLEMS, **_CLEAR}


class FailingView(BaseModel):
    """The failed starts in a row of a pool's runners, and the last error."""

    tries: int
    error: str


class StatesView(BaseModel):
    """How many runners of a pool are in each state."""

    starting: int
    idle: int
    busy: int
    leaving: int


class SizesView(BaseModel):
    """The fewest and the most runners of a pool."""

    runners: tuple[int, int]


class SetSizesView(SizesView):
    """The sizes that a person has set: who, and when."""

    changed_at: AwareDatetime
    by: str


class PoolDocumentView(BaseModel):
    """A pool of runners.

    - `min_runners`, `max_runners`: the sizes in force; null until it was looked after once.
    - `declared`: its sizes by the handlers or the settings; null if it has none.
    - `override`: what a person has set instead, or null.
    - `backlog`: all waiting tasks of its types, also those that are not due.
    - `oldest_due_seconds`: how long the oldest due one has waited.
    - `resources`: what a runner beyond the minimum reserves, by Ray's names.
    """

    name: str
    task_types: list[str]
    min_runners: int | None
    max_runners: int | None
    declared: SizesView | None
    override: SetSizesView | None
    runners: int
    states: StatesView
    backlog: int
    oldest_due_seconds: float | None
    resources: dict[str, float]
    failing: FailingView | None


class PoolsView(BaseModel):
    """The pools, by name."""

    pools: list[PoolDocumentView]


def pool_router(service: Service) -> APIRouter:
    """Return the router of these endpoints."""
    router = APIRouter()

    @router.get(
        "/pools", response_model=PoolsView, responses=_READ, summary="List the pools of runners"
    )
    async def listed(_caller: ServiceOperator) -> Response:
        """Return each pool with its types, its sizes and its backlog."""
        return json_answer(to_json({"pools": await service.backend.read(PoolList())}))

    @router.put(
        "/pools/{name}",
        response_model=PoolDocumentView,
        responses=_CHANGE,
        summary="Set the sizes of a pool",
        openapi_extra=body_extra(schema_of(SizesRequest)),
    )
    async def change(name: PoolName, request: Request, caller: ServiceOperator) -> Response:
        """Set the fewest and the most runners of a pool, at once and until `DELETE`.

        Deployments do not change them. Runners beyond the most finish what they run.
        """
        asked = await read_body(request, service, SizesRequest)
        found = await _known(service)
        if name not in found or not found[name]["task_types"]:
            raise _unknown(name, found)
        if name == REMOTE_POOL:
            raise Problem(
                HTTPStatus.CONFLICT,
                "the pool remote has no sizes: each of its attempts is a Ray remote task, and the "
                "cluster's resources bound them; set ray_options, or name a Pool for the type",
            )
        least, most = asked.runners
        await service.backend.execute(SetPool(name, least, most, caller.name))
        return json_answer(to_json((await _known(service))[name]))

    @router.delete(
        "/pools/{name}",
        response_model=PoolDocumentView,
        responses=_CLEAR,
        summary="Return to a pool's declared sizes",
    )
    async def clear(name: PoolName, caller: ServiceOperator) -> Response:
        """Let the declared sizes hold again. Return the pool as it is then."""
        found = await _known(service)
        if name not in found:
            raise _unknown(name, found)
        await service.backend.execute(ClearPool(name, caller.name))
        left = (await _known(service)).get(name)
        return json_answer(to_json(left or {**found[name], "override": None}))

    return router


async def _known(service: Service) -> dict[str, dict[str, Any]]:
    return {pool["name"]: pool for pool in await service.backend.read(PoolList())}


def _unknown(name: str, found: dict[str, dict[str, Any]]) -> Problem:
    declared = [known for known, pool in found.items() if pool["task_types"]]
    known = f"there are: {', '.join(declared)}" if declared else "there is none"
    return Problem(HTTPStatus.NOT_FOUND, f"no handler declares the pool {name[:100]!r}; {known}")
