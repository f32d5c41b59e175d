"""The routes: from HTTP to the tracker and back."""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import Field
from pydantic_core import to_json
from starlette.responses import Response

from raytasks import __version__
from raytasks.api.answers import AWAY, check_id, json_answer, problems
from raytasks.api.auth import AnyCaller, Caller, NamespaceQuery, Operator, Reader, Submitter
from raytasks.api.backend import Backend
from raytasks.api.batcher import Batcher
from raytasks.api.bodies import read_json
from raytasks.api.limits import WaitingRoom
from raytasks.api.signing import Links
from raytasks.artifacts import ArtifactStore
from raytasks.keys import Scope
from raytasks.models import (
    Duplicate,
    KeyConflict,
    StoreUnavailable,
    TaskNotFound,
    TaskQuery,
)
from raytasks.registry import Registry
from raytasks.states import State
from raytasks.submission import SubmitRequest, check_submission
from raytasks.tracker.watch import TaskWatch
from raytasks.views import (
    TaskPageView,
    TaskView,
    TaskWithAttemptsView,
    accepted,
    page_json,
    task_json,
)

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Of all submissions with the same key only the first makes a task; the others "
        "are answered with that one. 1 to 255 printable ASCII characters."
    ),
]
TaskId = Annotated[str, Path(description="The id that the submission was answered with.")]

MOST_LISTED = 500
MOST_WAIT_SECONDS = 60.0
_HEALTH_SECONDS = 5.0
_TASK_TYPE = "^[A-Za-z][A-Za-z0-9_.-]{0,99}$"  # what `@handler` takes
_LARGEST_OFFSET = 2**53  # what JSON numbers hold exactly


class ListQuery(NamespaceQuery):
    """The query of the list."""

    limit: int = Field(default=50, ge=1, le=MOST_LISTED)
    offset: int = Field(default=0, ge=0, le=_LARGEST_OFFSET)
    state: State | None = None
    task_type: str | None = Field(default=None, pattern=_TASK_TYPE)


class GetQuery(NamespaceQuery):
    """The query of a task."""

    wait: float = Field(
        default=0.0,
        ge=0,
        le=MOST_WAIT_SECONDS,
        description="Answer when it has ended, or after this many seconds.",
    )


@dataclass
class Service:
    """What the routes work with."""

    backend: Backend
    registry: Registry
    artifacts: ArtifactStore
    max_payload_bytes: int
    max_depth: int
    debug: bool
    waiting_room: WaitingRoom
    links: Links

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.backend.submit)
        self.watch = TaskWatch(self.backend)
        self.task_types = to_json(
            {"task_types": [info.description for info in self.registry.infos()]}
        )


_SUBMIT_PROBLEMS = problems(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    AWAY,
)


def task_router(service: Service) -> APIRouter:
    """Return the router of the endpoints for tasks."""
    router = APIRouter()

    @router.post(
        "/tasks/",
        status_code=202,
        response_model=TaskView,
        responses={
            **_SUBMIT_PROBLEMS,
            200: {"description": "The same request with this key came before.", "model": TaskView},
        },
        summary="Submit a task",
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": SubmitRequest.model_json_schema()}},
            }
        },
    )
    async def submit(
        request: Request,
        asked: Annotated[NamespaceQuery, Query()],
        caller: Submitter,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Accept a task; the answer comes when it is on disk. From then on it is never lost."""
        caller.namespace_for(asked.namespace)
        body = await read_json(request, service.max_payload_bytes, service.max_depth)
        new = check_submission(body, service.registry, idempotency_key=idempotency_key)
        duplicate = (await service.batcher.submit([new])).get(new.task_id)
        if duplicate is not None:
            return await _the_first_one(service, duplicate, caller)
        headers = {"Location": f"/tasks/{new.task_id}"}
        return json_answer(task_json(accepted(new)), HTTPStatus.ACCEPTED, headers)

    @router.get(
        "/tasks/",
        response_model=TaskPageView,
        responses=problems(HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="List tasks, newest first",
    )
    async def page(asked: Annotated[ListQuery, Query()], caller: Reader) -> Response:
        """Return one page; `total` says how many tasks the filters match in all."""
        caller.namespace_for(asked.namespace)
        query = TaskQuery(asked.limit, asked.offset, asked.state, asked.task_type)
        found = await service.backend.page(query)
        return json_answer(
            page_json(
                found,
                limit=asked.limit,
                offset=asked.offset,
                tracebacks=caller.may(Scope.OPERATE),
            )
        )

    @router.get(
        "/tasks/{task_id}",
        response_model=TaskWithAttemptsView,
        responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="Get a task with its attempts",
    )
    async def get(task_id: TaskId, asked: Annotated[GetQuery, Query()], caller: Reader) -> Response:
        """Return the task as it is, or with `wait` (seconds) as soon as it is final."""
        caller.namespace_for(asked.namespace)
        check_id(task_id)
        if asked.wait:
            async with service.waiting_room.place():
                found = await service.watch.final(task_id, asked.wait)
        else:
            found = await service.backend.task(task_id)
        if found is None:
            raise TaskNotFound(f"there is no task {task_id}")
        return json_answer(task_json(*found, tracebacks=caller.may(Scope.OPERATE)))

    @router.post(
        "/tasks/{task_id}/retry",
        status_code=202,
        response_model=TaskView,
        responses=problems(
            HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY
        ),
        summary="Run a FAILED or CANCELLED task again",
    )
    async def retry(
        task_id: TaskId, asked: Annotated[NamespaceQuery, Query()], caller: Operator
    ) -> Response:
        """Make the task PENDING, with a fresh budget of attempts; its history stays."""
        caller.namespace_for(asked.namespace)
        check_id(task_id)
        return json_answer(
            task_json(await service.backend.retry(task_id), tracebacks=True), HTTPStatus.ACCEPTED
        )

    @router.post(
        "/tasks/{task_id}/cancel",
        status_code=202,
        response_model=TaskView,
        responses=problems(
            HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY
        ),
        summary="Cancel a task",
    )
    async def cancel(
        task_id: TaskId, asked: Annotated[NamespaceQuery, Query()], caller: Operator
    ) -> Response:
        """Cancel a task that waits at once; tell the attempt of one that runs to stop."""
        caller.namespace_for(asked.namespace)
        check_id(task_id)
        return json_answer(
            task_json(await service.backend.cancel(task_id), tracebacks=True), HTTPStatus.ACCEPTED
        )

    return router


def service_router(service: Service) -> APIRouter:
    """Return the router of the endpoints for the service itself, and for the tasks' files."""
    router = APIRouter()

    @router.get("/task-types", summary="List the task types, with the schemas of their payloads")
    async def task_types(_caller: Reader) -> Response:
        """Return every type with its payload's JSON Schema, retry policy, timeout, Ray options."""
        return json_answer(service.task_types)

    @router.get(
        "/health",
        responses={503: {"description": "Something that tasks need is away."}},
        summary="Tell how the service is",
    )
    async def health(caller: AnyCaller) -> Response:
        """Return the state of database, tracker, runners and Ray; `503` if one of them is away.

        Without a key, or without the scope read, only `status` and `version` are told.
        """
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                report = await service.backend.health()
        except Exception as error:
            away = {"ok": False, "error": f"{type(error).__name__}: the tracker is away"}
            report = {"tracker": away}
        if not service.debug and not report.get("database", {}).get("ok", True):
            # What a driver says names hosts and users.
            report["database"] = {"ok": False, "error": "the database is away; see the log"}
        healthy = all(part.get("ok") for part in report.values())
        body = {"status": "ok" if healthy else "degraded", "version": __version__}
        if caller.may(Scope.READ):
            body |= report
        return json_answer(to_json(body), HTTPStatus.OK if healthy else AWAY)

    return router


async def _the_first_one(service: Service, duplicate: Duplicate, caller: Caller) -> Response:
    """Answer with the task that has the key already. Raises `KeyConflict`."""
    if not duplicate.same:
        raise KeyConflict(
            f"the Idempotency-Key was used for another request, which made task "
            f"{duplicate.task_id}; use a new key for a new request"
        )
    found = await service.backend.task(duplicate.task_id)
    if found is None:
        raise StoreUnavailable("the task with this key has just been pruned; try again")
    return json_answer(
        task_json(found[0], tracebacks=caller.may(Scope.OPERATE)),
        headers={"Location": f"/tasks/{duplicate.task_id}"},
    )
