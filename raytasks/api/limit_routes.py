"""The routes of the limits: how far they are used, and their bounds at run time."""

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
from raytasks.api.steering_bodies import SETTING_PROBLEMS, LimitRequest, read_body
from raytasks.protocol.commands import ClearLimit, SetLimit
from raytasks.protocol.queries import LimitList

LimitName = Annotated[str, Path(description="The name that a handler's `Limit` declares.")]

_READ = problems_of(HTTPStatus.FORBIDDEN, AWAY)
_CLEAR = {**_READ, **problems_of(HTTPStatus.NOT_FOUND)}
_CHANGE = {**SETTING_PROBLEMS, **_CLEAR, **problems_of(HTTPStatus.CONFLICT)}


class BoundsView(BaseModel):
    """The bounds of a limit; null where there is none."""

    running: int | None
    rate: float | None
    per_seconds: float | None
    burst: int | None


class OverrideView(BoundsView):
    """The bounds that a person has set: who, and when."""

    changed_at: AwareDatetime
    by: str


class KeyView(BaseModel):
    """The use of a limit for one value, within a namespace."""

    namespace: str
    value: str | int | bool | None
    running: int
    waiting: int
    tokens: float | None


class LimitView(BaseModel):
    """A limit.

    - `keyed`: it holds for each value by itself; `ordered`: tasks of a value run one by one.
    - `declared`: the bounds in the handlers' code; null if no handler declares it any more.
    - `override`: what a person has set instead, or null; `in_force`: what counts.
    - `types`: the task types that it is about.
    - `running`: how many of their attempts run; `waiting`: how many of their tasks wait.
    - `tokens`: how many attempts may begin now; null without a rate.
    - `fullest`: of a limit by a value, the fullest keys, at most 20.
    """

    name: str
    keyed: bool
    ordered: bool
    declared: BoundsView | None
    override: OverrideView | None
    in_force: BoundsView | None
    types: list[str]
    running: int
    waiting: int
    tokens: float | None
    fullest: list[KeyView]


class LimitsView(BaseModel):
    """The limits, by name."""

    limits: list[LimitView]


def limit_router(service: Service) -> APIRouter:
    """Return the router of these endpoints."""
    router = APIRouter()

    @router.get("/limits", response_model=LimitsView, responses=_READ, summary="List the limits")
    async def listed(_caller: ServiceOperator) -> Response:
        """Return each limit with its bounds and its use."""
        return json_answer(to_json({"limits": await service.backend.read(LimitList())}))

    @router.put(
        "/limits/{name}",
        response_model=LimitView,
        responses=_CHANGE,
        summary="Set the bounds of a limit",
        openapi_extra=body_extra(schema_of(LimitRequest)),
    )
    async def change(name: LimitName, request: Request, caller: ServiceOperator) -> Response:
        """Set all bounds of a limit, at once and until `DELETE`. Deployments do not change them."""
        asked = await read_body(request, service, LimitRequest)
        found = await _known(service)
        limit = found.get(name)
        if limit is None or limit["declared"] is None:
            raise _unknown(name, found)
        if limit["ordered"] and asked.running not in (None, 1):
            raise Problem(
                HTTPStatus.CONFLICT,
                f"the limit {name} is ordered: its tasks run one after the other; set running to "
                "1, or leave it out",
            )
        await service.backend.execute(
            SetLimit(name, asked.running, asked.rate, asked.per_seconds, asked.burst, caller.name)
        )
        return json_answer(to_json((await _known(service))[name]))

    @router.delete(
        "/limits/{name}",
        response_model=LimitView,
        responses=_CLEAR,
        summary="Return to a limit's declared bounds",
    )
    async def clear(name: LimitName, caller: ServiceOperator) -> Response:
        """Let the declared bounds hold again. Return the limit as it is then."""
        found = await _known(service)
        if name not in found:
            raise _unknown(name, found)
        await service.backend.execute(ClearLimit(name, caller.name))
        left = (await _known(service)).get(name)
        return json_answer(to_json(left or {**found[name], "override": None}))

    return router


async def _known(service: Service) -> dict[str, dict[str, Any]]:
    return {limit["name"]: limit for limit in await service.backend.read(LimitList())}


def _unknown(name: str, found: dict[str, dict[str, Any]]) -> Problem:
    declared = [known for known, limit in found.items() if limit["declared"] is not None]
    known = f"there are: {', '.join(declared)}" if declared else "there is none"
    return Problem(HTTPStatus.NOT_FOUND, f"no handler declares the limit {name[:100]!r}; {known}")
