"""The routes: from HTTP to the tracker and back."""

import asyncio
import mimetypes
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response

from raytasks import __version__
from raytasks.api.backend import Backend
from raytasks.api.batcher import Batcher
from raytasks.api.bodies import read_json
from raytasks.api.problems import Problem, ProblemView
from raytasks.artifacts import URL_PREFIX, ArtifactStore
from raytasks.models import (
    Duplicate,
    KeyConflict,
    StoreUnavailable,
    TaskNotFound,
    TaskQuery,
    is_task_id,
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


class ListQuery(BaseModel):
    """The query of the list. A name that is not here is an error, not passed over."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=MOST_LISTED)
    offset: int = Field(default=0, ge=0, le=_LARGEST_OFFSET)
    state: State | None = None
    task_type: str | None = Field(default=None, pattern=_TASK_TYPE)


class GetQuery(BaseModel):
    """The query of a task."""

    model_config = ConfigDict(extra="forbid")

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
    clock: Callable[[], float] = time.time

    def __post_init__(self) -> None:
        self.batcher = Batcher(self.backend.submit)
        self.watch = TaskWatch(self.backend)
        self.task_types = to_json(
            {"task_types": [info.description for info in self.registry.infos()]}
        )


def _problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    return {
        status.value: {"description": status.phrase, "model": ProblemView} for status in statuses
    }


_AWAY = HTTPStatus.SERVICE_UNAVAILABLE
_SUBMIT_PROBLEMS = _problems(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.CONFLICT,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    _AWAY,
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
    async def submit(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Accept a task; the answer comes when it is on disk. From then on it is never lost."""
        body = await read_json(request, service.max_payload_bytes)
        new = check_submission(
            body, service.registry, idempotency_key=idempotency_key, now=service.clock()
        )
        duplicate = (await service.batcher.submit([new])).get(new.task_id)
        if duplicate is not None:
            return await _the_first_one(service, duplicate)
        headers = {"Location": f"/tasks/{new.task_id}"}
        return _json(task_json(accepted(new)), HTTPStatus.ACCEPTED, headers)

    @router.get(
        "/tasks/",
        response_model=TaskPageView,
        responses=_problems(HTTPStatus.UNPROCESSABLE_ENTITY, _AWAY),
        summary="List tasks, newest first",
    )
    async def page(asked: Annotated[ListQuery, Query()]) -> Response:
        """Return one page; `total` says how many tasks the filters match in all."""
        query = TaskQuery(asked.limit, asked.offset, asked.state, asked.task_type)
        found = await service.backend.page(query)
        return _json(page_json(found, limit=asked.limit, offset=asked.offset))

    @router.get(
        "/tasks/{task_id}",
        response_model=TaskWithAttemptsView,
        responses=_problems(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, _AWAY),
        summary="Get a task with its attempts",
    )
    async def get(task_id: TaskId, asked: Annotated[GetQuery, Query()]) -> Response:
        """Return the task as it is, or with `wait` (seconds) as soon as it is final."""
        _check_id(task_id)
        if asked.wait:
            found = await service.watch.final(task_id, asked.wait)
        else:
            found = await service.backend.task(task_id)
        if found is None:
            raise TaskNotFound(f"there is no task {task_id}")
        return _json(task_json(*found))

    @router.post(
        "/tasks/{task_id}/retry",
        status_code=202,
        response_model=TaskView,
        responses=_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, _AWAY),
        summary="Run a FAILED or CANCELLED task again",
    )
    async def retry(task_id: TaskId) -> Response:
        """Make the task PENDING, with a fresh budget of attempts; its history stays."""
        _check_id(task_id)
        return _json(task_json(await service.backend.retry(task_id)), HTTPStatus.ACCEPTED)

    @router.post(
        "/tasks/{task_id}/cancel",
        status_code=202,
        response_model=TaskView,
        responses=_problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, _AWAY),
        summary="Cancel a task",
    )
    async def cancel(task_id: TaskId) -> Response:
        """Cancel a task that waits at once; tell the attempt of one that runs to stop."""
        _check_id(task_id)
        return _json(task_json(await service.backend.cancel(task_id)), HTTPStatus.ACCEPTED)

    return router


def service_router(service: Service) -> APIRouter:
    """Return the router of the endpoints for the service itself, and for the tasks' files."""
    router = APIRouter()

    @router.get("/task-types", summary="List the task types, with the schemas of their payloads")
    async def task_types() -> Response:
        """Return every type with its payload's JSON Schema, retry policy, timeout, Ray options."""
        return _json(service.task_types)

    @router.get(
        "/health",
        responses={503: {"description": "Something that tasks need is away."}},
        summary="Tell how the service is",
    )
    async def health() -> Response:
        """Return the state of database, tracker, runners and Ray; `503` if one of them is away."""
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                report = await service.backend.health()
        except Exception as error:
            away = {"ok": False, "error": f"{type(error).__name__}: the tracker is away"}
            report = {"tracker": away}
        healthy = all(part.get("ok") for part in report.values())
        body = {"status": "ok" if healthy else "degraded", "version": __version__, **report}
        return _json(to_json(body), HTTPStatus.OK if healthy else _AWAY)

    @router.get(
        URL_PREFIX + "/{task_id}/{name}",
        responses=_problems(HTTPStatus.NOT_FOUND),
        summary="Get a file that a task has made",
    )
    async def artifact(task_id: str, name: str) -> Response:
        """Return the file's bytes."""
        try:
            data = await anyio.to_thread.run_sync(service.artifacts.read, task_id, name)
        except (FileNotFoundError, IsADirectoryError, ValueError):
            raise Problem(HTTPStatus.NOT_FOUND, "there is no such file") from None
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        # A file that a task made is data: nothing in it may run in a browser.
        safe = kind if kind.startswith("image/") and "svg" not in kind else None
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        return Response(data, headers=headers, media_type=safe or "application/octet-stream")

    return router


async def _the_first_one(service: Service, duplicate: Duplicate) -> Response:
    """Answer with the task that has the key already. Raises `KeyConflict`."""
    if not duplicate.same:
        raise KeyConflict(
            f"the Idempotency-Key was used for another request, which made task "
            f"{duplicate.task_id}; use a new key for a new request"
        )
    found = await service.backend.task(duplicate.task_id)
    if found is None:
        raise StoreUnavailable("the task with this key has just been pruned; try again")
    return _json(task_json(found[0]), headers={"Location": f"/tasks/{duplicate.task_id}"})


def _json(
    body: bytes, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    return Response(body, status.value, headers, media_type="application/json")


def _check_id(task_id: str) -> None:
    """Refuse what cannot be the id of a task, before the database is asked."""
    if not is_task_id(task_id):
        raise TaskNotFound(f"there is no task {task_id[:100]}")
