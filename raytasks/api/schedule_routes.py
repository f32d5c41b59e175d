"""The routes of schedules: their next times, and what people set of them."""

from http import HTTPStatus
from typing import Annotated, Any, NoReturn

import uuid_utils
from fastapi import APIRouter, Path, Query, Request
from msgspec import Raw, json
from pydantic import AwareDatetime, BaseModel, Field
from starlette.responses import Response

from raytasks.api.auth import NamespaceQuery, Operator
from raytasks.api.problems import Problem
from raytasks.api.request_bodies import read_json
from raytasks.api.route_service import (
    AWAY,
    Service,
    body_extra,
    json_answer,
    problems_of,
    schema_of,
)
from raytasks.api.schedule_view import schedule_document
from raytasks.api.steering_bodies import SETTING_PROBLEMS
from raytasks.api.task_models import TaskView
from raytasks.api.views import task_json
from raytasks.handling.schedule_request import ScheduleRequest, check_schedule
from raytasks.model.bounds import MAX_LISTED
from raytasks.model.controls import NAME
from raytasks.model.schedule_specs import CatchUp, Overlap, ScheduleRow
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.commands import (
    ClearSchedule,
    PauseSchedule,
    ResumeSchedule,
    RunSchedule,
    SetSchedule,
)
from raytasks.protocol.queries import ScheduleList, TasksById

ScheduleName = Annotated[
    str, Path(pattern=f"^{NAME}$", description="The schedule's name in its namespace.")
]

_READ = problems_of(HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY)
_ACT = {**_READ, **problems_of(HTTPStatus.NOT_FOUND)}
_GO_ON = {**_ACT, **problems_of(HTTPStatus.CONFLICT)}
_SET = {**SETTING_PROBLEMS, **problems_of(HTTPStatus.CONFLICT)}


class ScheduleQuery(NamespaceQuery):
    """The query of `GET /schedules`. With a `name`, only that schedule is listed."""

    name: str | None = Field(default=None, pattern=f"^{NAME}$")
    limit: int = Field(default=100, ge=1, le=MAX_LISTED)
    cursor: str | None = Field(default=None, pattern=f"^{NAME}$")


class TimesView(BaseModel):
    """The times of a schedule, and the tasks that it submits. See `PUT /schedules/{name}`."""

    task_type: str
    cron: str | None
    every_seconds: float | None
    timezone: str
    payload: Any
    catch_up: CatchUp
    max_catch_up: int
    overlap: Overlap
    priority: int
    max_attempts: int
    timeout_seconds: float | None
    tags: list[str]
    limit_values: dict[str, str | int | bool | None]
    expires_seconds: float | None


class SetTimesView(TimesView):
    """The times that a person has set instead of the declared ones: who, and when."""

    changed_at: AwareDatetime
    by: str


class SchedulePauseView(BaseModel):
    """The pause of a schedule."""

    since: AwareDatetime
    by: str


class ScheduleView(BaseModel):
    """A schedule.

    - `declared`: what the handlers' code declares, or null.
    - `override`: what a person has set instead, or null.
    - `in_force`: what counts; null only after the schedule has ended.
    - `next_times`: its next five times; none while it is paused, or has an `error`. Fewer if the
      replica that answers cannot compute them.
    - `last_scheduled_for`: the last time that got a task, `last_task_id`, which was made at
      `last_at`.
    - `error`: why it stands still, or null. It is tried again by itself.
    """

    namespace: str
    name: str
    declared: TimesView | None
    override: SetTimesView | None
    in_force: TimesView | None
    next_times: list[AwareDatetime]
    last_scheduled_for: AwareDatetime | None
    last_at: AwareDatetime | None
    last_task_id: str | None
    paused: SchedulePauseView | None
    error: str | None


class SchedulesView(BaseModel):
    """A page of the schedules of a namespace, by name."""

    schedules: list[ScheduleView]
    next_cursor: str | None


def schedule_router(service: Service) -> APIRouter:
    """Return the router of these endpoints."""
    router = APIRouter()
    backend = service.backend

    def answer(row: ScheduleRow, *, ended: bool = False) -> Response:
        document = schedule_document(service, row, ended=ended)
        return json_answer(json.encode(document))

    @router.get(
        "/schedules", response_model=SchedulesView, responses=_READ, summary="List the schedules"
    )
    async def listed(asked: Annotated[ScheduleQuery, Query()], caller: Operator) -> Response:
        """Return one page of a namespace's schedules, each with its next five times."""
        namespace = caller.namespace_for(asked.namespace)
        page = await backend.read(ScheduleList(namespace, asked.name, asked.cursor, asked.limit))
        errors = await service.live.schedule_errors(namespace) if page.schedules else {}
        shown = [
            Raw(json.encode(schedule_document(service, row, error=errors.get(row.name))))
            for row in page.schedules
        ]
        body = {"schedules": shown, "next_cursor": page.next_cursor}
        return json_answer(json.encode(body))

    @router.put(
        "/schedules/{name}",
        response_model=ScheduleView,
        responses=_SET,
        summary="Set a schedule",
        openapi_extra=body_extra(schema_of(ScheduleRequest)),
    )
    async def change(
        name: ScheduleName,
        request: Request,
        place: Annotated[NamespaceQuery, Query()],
        caller: Operator,
    ) -> Response:
        """Set a schedule, at once and until `DELETE`: a new one, or instead of a declared one.

        Deployments do not change it. If its times are others now, its next one is after now.
        """
        namespace = caller.namespace_for(place.namespace)
        value = await read_json(
            request.scope, request.receive, service.max_payload_bytes, service.max_depth
        )
        task_type = str(value.get("task_type")) if isinstance(value, dict) else ""
        spec = await service.check_threads.run(
            [task_type],
            lambda: check_schedule(
                value,
                service.registry,
                namespace=namespace,
                now=service.clock(),
                bounds=service.payload_bounds,
            ),
        )
        return answer(await backend.execute(SetSchedule(namespace, name, spec, caller.name)))

    @router.delete(
        "/schedules/{name}",
        response_model=ScheduleView,
        responses=_GO_ON,
        summary="Return to a schedule's declaration, or end it",
    )
    async def clear(
        name: ScheduleName, place: Annotated[NamespaceQuery, Query()], caller: Operator
    ) -> Response:
        """Let the declaration hold again. A schedule that no handler declares ends.

        Return the schedule as it is then.
        """
        namespace = caller.namespace_for(place.namespace)
        found = await backend.read(ScheduleList(namespace, name))
        if not found.schedules:
            await _refuse(service, namespace, name)
        left = await backend.execute(ClearSchedule(namespace, name, caller.name))
        return answer(found.schedules[0], ended=True) if left is None else answer(left)

    @router.post(
        "/schedules/{name}/run",
        status_code=202,
        response_model=TaskView,
        responses=_GO_ON,
        summary="Submit a task of a schedule now",
    )
    async def run(
        name: ScheduleName, place: Annotated[NamespaceQuery, Query()], caller: Operator
    ) -> Response:
        """Submit a task now, even if the schedule is paused. Its times do not change."""
        namespace = caller.namespace_for(place.namespace)
        order = RunSchedule(namespace, name, caller.name, str(uuid_utils.uuid7()))
        task_id = await backend.execute(order)
        if task_id is None:
            await _refuse(service, namespace, name)
        found = (await backend.read(TasksById([task_id]))).get(task_id)
        if found is None:  # it was deleted already
            raise StoreUnavailable(f"the task {task_id} was submitted, and is gone already")
        body = task_json(service.shown(found, operates=True), tracebacks=service.debug)
        headers = {"Location": f"/tasks/{task_id}"}
        return json_answer(body, HTTPStatus.ACCEPTED, headers)

    @router.post(
        "/schedules/{name}/pause",
        response_model=ScheduleView,
        responses=_ACT,
        summary="Pause a schedule",
    )
    async def pause(
        name: ScheduleName, place: Annotated[NamespaceQuery, Query()], caller: Operator
    ) -> Response:
        """Let the schedule's times pass without tasks, through deployments, until `resume`."""
        namespace = caller.namespace_for(place.namespace)
        row = await backend.execute(PauseSchedule(namespace, name, caller.name))
        return answer(row) if row is not None else await _refuse(service, namespace, name)

    @router.post(
        "/schedules/{name}/resume",
        response_model=ScheduleView,
        responses=_GO_ON,
        summary="End the pause of a schedule",
    )
    async def resume(
        name: ScheduleName, place: Annotated[NamespaceQuery, Query()], caller: Operator
    ) -> Response:
        """Let the schedule go on with its next time. Times that passed meanwhile get no task."""
        namespace = caller.namespace_for(place.namespace)
        row = await backend.execute(ResumeSchedule(namespace, name, caller.name))
        return answer(row) if row is not None else await _refuse(service, namespace, name)

    return router


async def _refuse(service: Service, namespace: str, name: str) -> NoReturn:
    """Raise the problem of a schedule that there is not."""
    page = await service.backend.read(ScheduleList(namespace, limit=20))
    names = ", ".join(row.name for row in page.schedules)
    known = f"there are: {names}" if names else "there is none"
    more = ", and others" if page.next_cursor else ""
    raise Problem(
        HTTPStatus.NOT_FOUND,
        f"there is no schedule {name[:100]!r} in the namespace {namespace}; {known}{more}",
    )
