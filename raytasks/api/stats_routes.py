"""The route of the statistics."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import NamespaceQuery, Reader
from raytasks.api.figures import Figures
from raytasks.api.route_service import AWAY, Service, json_answer, problems_of
from raytasks.model.states import State


class PercentilesView(BaseModel):
    """Durations in seconds: half of all, 95 % and 99 % took no longer. They are within 5 %."""

    p50: float
    p95: float
    p99: float


class WindowView(BaseModel):
    """Statistics of the last `seconds`.

    `completed` and `failed` count tasks that ended so. The share of the failed among them is
    `failure_rate`, the number of both per second `per_second`. The `queue_wait` is how long tasks
    were due before a runner got them. The `run_time` is the duration of attempts that succeeded,
    failed or timed out.
    """

    seconds: int
    completed: int
    failed: int
    failure_rate: float | None
    per_second: float
    queue_wait: PercentilesView | None
    run_time: PercentilesView | None


class WindowsView(BaseModel):
    """The windows. They move in steps of 5 seconds, a minute and 10 minutes."""

    minute: WindowView
    hour: WindowView
    day: WindowView


class CountsView(BaseModel):
    """How many tasks there are, exactly. A type has only the states that it has tasks in."""

    by_state: dict[State, int]
    by_type: dict[str, dict[State, int]]


class StatsView(BaseModel):
    """Counts and statistics. `by_type` has the types that were active within a day."""

    namespace: str
    counts: CountsView
    windows: WindowsView
    by_type: dict[str, WindowsView]


def stats_router(service: Service) -> APIRouter:
    """Return the router of `/stats`."""
    router = APIRouter()
    figures = Figures(service.backend, service.clock)

    @router.get(
        "/stats",
        response_model=StatsView,
        responses=problems_of(HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="Count tasks; tell throughput, failure rate, waits and running times",
    )
    async def stats(place: Annotated[NamespaceQuery, Query()], caller: Reader) -> Response:
        """Return counts of tasks by state and type; statistics of the last minute, hour and day.

        The counts are exact. The windows are at most two seconds old.
        """
        namespace = caller.namespace_for(place.namespace)
        return json_answer(to_json(await figures.of(namespace)))

    return router
