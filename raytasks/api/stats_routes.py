"""The routes of the statistics."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from msgspec.structs import asdict
from pydantic import AwareDatetime, BaseModel, Field
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import NamespaceQuery, Reader
from raytasks.api.figures import Figures
from raytasks.api.kept_answers import KeptAnswers
from raytasks.api.route_service import AWAY, Service, json_answer, problems_of
from raytasks.handling.declaration_checks import TASK_TYPE
from raytasks.model.states import State
from raytasks.model.stats_series import MAX_SECONDS, MIN_SECONDS
from raytasks.model.time_text import rfc3339
from raytasks.protocol.queries import StatsHistory

KEPT_SECONDS = 2.0
"""Seconds for which a replica gives the same series again."""


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


class SeriesQuery(NamespaceQuery):
    """The query of the series."""

    task_type: str | None = Field(default=None, pattern=f"^{TASK_TYPE}$")
    seconds: int = Field(default=3600, ge=MIN_SECONDS, le=MAX_SECONDS)


class PercentileSeriesView(BaseModel):
    """Percentiles of durations in seconds; null for a step without any."""

    p50: list[float | None]
    p95: list[float | None]
    p99: list[float | None]


class SeriesView(BaseModel):
    """The statistics step by step, the oldest step first. The last one still goes on.

    The first step begins at `since`. `submitted`, `completed` and `failed` count tasks. The
    `backlog` is how many waited at the end of a step, due or not. It is null where it is not known,
    as for times before version 0.3. The six types with the largest are in `backlog_by_type`, and
    `omitted_types` is how many more had one.
    """

    namespace: str
    task_type: str | None
    since: AwareDatetime
    step_seconds: int
    submitted: list[int]
    completed: list[int]
    failed: list[int]
    backlog: list[int | None]
    backlog_by_type: dict[str, list[int | None]]
    omitted_types: int
    queue_wait: PercentileSeriesView
    run_time: PercentileSeriesView


def stats_router(service: Service) -> APIRouter:
    """Return the router of `/stats`."""
    router = APIRouter()
    kept: KeptAnswers[bytes] = KeptAnswers(KEPT_SECONDS, service.clock)
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

    @router.get(
        "/stats/series",
        response_model=SeriesView,
        responses=problems_of(HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="Tell how the statistics were over time",
    )
    async def over_time(asked: Annotated[SeriesQuery, Query()], caller: Reader) -> Response:
        """Return the last `seconds` in steps of a minute, of more than an hour in steps of ten.

        They are at most 7 seconds old, the present backlog at most 2.
        """
        namespace = caller.namespace_for(asked.namespace)

        async def make() -> bytes:
            query = StatsHistory(namespace, asked.task_type, asked.seconds, service.clock())
            found = await service.backend.read(query)
            body = {
                "namespace": namespace,
                "task_type": asked.task_type,
                **asdict(found),
                "since": rfc3339(found.since),
            }
            return to_json(body)

        return json_answer(await kept.get((namespace, asked.task_type, asked.seconds), make))

    return router
