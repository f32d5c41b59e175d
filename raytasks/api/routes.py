"""The routes: from HTTP to the tracker and back."""

import asyncio
import mimetypes
from http import HTTPStatus
from typing import Annotated

import anyio
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import to_json
from starlette.responses import Response

from raytasks import __version__
from raytasks.api.problems import Problem
from raytasks.api.service import AWAY, Service, json_answer, problems_of
from raytasks.artifacts import URL_PREFIX
from raytasks.models import (
    TaskNotFound,
    TaskQuery,
    is_task_id,
)
from raytasks.states import State
from raytasks.submission import TAG
from raytasks.views import (
    TaskPageView,
    TaskView,
    TaskWithAttemptsView,
    page_json,
    task_json,
)

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
    tag: str | None = Field(default=None, pattern=f"^{TAG}$")
    cursor: str | None = Field(
        default=None, description="The `next_cursor` of the page before; not with `offset`."
    )

    @model_validator(mode="after")
    def _one_place(self) -> "ListQuery":
        if self.offset and (self.cursor is not None or self.tag is not None):
            raise ValueError("use cursor, not offset, to go on in a list by tag or by cursor")
        if self.cursor is not None and not is_task_id(self.cursor):
            raise ValueError("cursor must be the next_cursor of a page")
        return self


class GetQuery(BaseModel):
    """The query of a task."""

    model_config = ConfigDict(extra="forbid")

    wait: float = Field(
        default=0.0,
        ge=0,
        le=MOST_WAIT_SECONDS,
        description="Answer when it has ended, or after this many seconds.",
    )


def task_router(service: Service) -> APIRouter:
    """Return the router of the endpoints for tasks."""
    router = APIRouter()

    @router.get(
        "/tasks/",
        response_model=TaskPageView,
        responses=problems_of(HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="List tasks, newest first",
    )
    async def page(asked: Annotated[ListQuery, Query()]) -> Response:
        """Return one page; `total` says how many tasks the filters match in all.

        With `tag` that is not counted, and a page may be shorter than `limit`: go on with
        `next_cursor` until it is null.
        """
        query = TaskQuery(
            asked.limit,
            asked.offset,
            asked.state,
            asked.task_type,
            tag=asked.tag,
            cursor=asked.cursor,
        )
        found = await service.backend.page(query)
        return json_answer(page_json(found, limit=asked.limit, offset=asked.offset))

    @router.get(
        "/tasks/{task_id}",
        response_model=TaskWithAttemptsView,
        responses=problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
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
        return json_answer(task_json(*found))

    @router.post(
        "/tasks/{task_id}/retry",
        status_code=202,
        response_model=TaskView,
        responses=problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, AWAY),
        summary="Run a FAILED or CANCELLED task again",
    )
    async def retry(task_id: TaskId) -> Response:
        """Make the task PENDING, with a fresh budget of attempts; its history stays."""
        _check_id(task_id)
        return json_answer(task_json(await service.backend.retry(task_id)), HTTPStatus.ACCEPTED)

    @router.post(
        "/tasks/{task_id}/cancel",
        status_code=202,
        response_model=TaskView,
        responses=problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, AWAY),
        summary="Cancel a task",
    )
    async def cancel(task_id: TaskId) -> Response:
        """Cancel a task that waits at once; tell the attempt of one that runs to stop."""
        _check_id(task_id)
        return json_answer(task_json(await service.backend.cancel(task_id)), HTTPStatus.ACCEPTED)

    return router


def service_router(service: Service) -> APIRouter:
    """Return the router of the endpoints for the service itself, and for the tasks' files."""
    router = APIRouter()

    @router.get("/task-types", summary="List the task types, with the schemas of their payloads")
    async def task_types() -> Response:
        """Return every type with its payload's JSON Schema, retry policy, timeout, Ray options."""
        return json_answer(service.task_types)

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
        return json_answer(to_json(body), HTTPStatus.OK if healthy else AWAY)

    @router.get(
        URL_PREFIX + "/{task_id}/{name}",
        responses=problems_of(HTTPStatus.NOT_FOUND),
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


def _check_id(task_id: str) -> None:
    """Refuse what cannot be the id of a task, before the database is asked."""
    if not is_task_id(task_id):
        raise TaskNotFound(f"there is no task {task_id[:100]}")
