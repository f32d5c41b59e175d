"""The routes: from HTTP to the tracker and back."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field, model_validator
from pydantic_core import to_json
from starlette.responses import Response

from raytasks import __version__
from raytasks.api.auth import (
    STRANGER,
    AnyCaller,
    Caller,
    NamespaceQuery,
    Operator,
    Reader,
    key_missing,
)
from raytasks.api.filter_fields import FilterFields
from raytasks.api.problems import Problem
from raytasks.api.route_service import (
    AWAY,
    Service,
    check_id,
    etag_of,
    json_answer,
    problems_of,
)
from raytasks.api.task_models import StackView, TaskPageView, TaskView, TaskWithAttemptsView
from raytasks.api.views import page_json, task_json
from raytasks.api_keys import Scope
from raytasks.model.bounds import MAX_LISTED, MAX_WAIT_SECONDS
from raytasks.model.states import State
from raytasks.model.tasks import is_task_id
from raytasks.protocol.commands import CancelTask
from raytasks.protocol.queries import TaskActs, TaskQuery, TaskStack

TaskId = Annotated[str, Path(description="The id that the submission was answered with.")]

_LARGEST_OFFSET = 2**53  # the largest integer that JSON numbers hold exactly


class ListQuery(FilterFields, NamespaceQuery):
    """The query of the list of tasks."""

    limit: int = Field(default=50, ge=1, le=MAX_LISTED)
    offset: int = Field(default=0, ge=0, le=_LARGEST_OFFSET)
    state: list[State] = Field(default_factory=list, description="Any of these; may be repeated.")
    cursor: str | None = Field(
        default=None, description="The `next_cursor` of the page before; not with `offset`."
    )

    @model_validator(mode="after")
    def _one_place(self) -> "ListQuery":
        narrow = (self.tag, self.created_after, self.created_before, self.error_type)
        if self.offset and (self.cursor is not None or any(narrow) or len(self.state) > 1):
            raise ValueError(
                "use cursor, not offset, to go on in a list by cursor, by several states, or by "
                "tag, created_after, created_before or error_type"
            )
        if self.cursor is not None and not is_task_id(self.cursor):
            raise ValueError("cursor must be the next_cursor of a page")
        return self


class MeView(BaseModel):
    """The caller and the service. `namespace` is null for a key that is bound to none."""

    name: str
    scopes: list[Scope]
    namespace: str | None
    service: str
    version: str


class GetQuery(NamespaceQuery):
    """The query of a task."""

    wait: float = Field(
        default=0.0,
        ge=0,
        le=MAX_WAIT_SECONDS,
        description="Answer when it has ended, or after this many seconds.",
    )


class CancelQuery(NamespaceQuery):
    """The query of a cancel."""

    message: str | None = Field(
        default=None, min_length=1, max_length=500, description="Why, for `cancel_reason`."
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
    async def page(asked: Annotated[ListQuery, Query()], caller: Reader) -> Response:
        """Return one page. `total` is how many tasks the filters match.

        With `tag`, `created_after`, `created_before` or `error_type` they are not counted, and a
        page may be shorter than `limit`. Continue with `next_cursor` until it is null.
        """
        namespace = caller.namespace_for(asked.namespace)
        query = TaskQuery(
            asked.filter_in(namespace, asked.state, ids_by_clock=service.ids_by_clock),
            asked.limit,
            asked.offset,
            asked.cursor,
        )
        found = await service.backend.read(query)
        operates = caller.may(Scope.OPERATE)
        return json_answer(
            page_json(
                found,
                [service.shown(task, operates=operates) for task in found.tasks],
                limit=asked.limit,
                offset=asked.offset,
                tracebacks=operates,
            )
        )

    @router.get(
        "/tasks/{task_id}",
        response_model=TaskWithAttemptsView,
        responses=problems_of(
            HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY
        ),
        summary="Get a task with its attempts",
    )
    async def get(task_id: TaskId, asked: Annotated[GetQuery, Query()], caller: Reader) -> Response:
        """Return the task as it is. With `wait` (seconds), return it as soon as it is final.

        Large payloads and results are read from the artifact store; the answer is `410` if one is
        missing there.
        """
        return await answer_get(service, task_id, caller, asked.namespace, asked.wait)

    @router.post(
        "/tasks/{task_id}/cancel",
        status_code=202,
        response_model=TaskView,
        responses=problems_of(
            HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY
        ),
        summary="Cancel a task",
    )
    async def cancel(
        task_id: TaskId, asked: Annotated[CancelQuery, Query()], caller: Operator
    ) -> Response:
        """Cancel a waiting task at once. For a running task, tell its attempt to stop."""
        namespace = caller.namespace_for(asked.namespace)
        check_id(task_id)
        command = CancelTask(task_id, namespace, caller.name, asked.message)
        task = await service.backend.execute(command)
        shown = service.shown(task, operates=True)
        return json_answer(task_json(shown, tracebacks=True), HTTPStatus.ACCEPTED, etag_of(task))

    @router.get(
        "/tasks/{task_id}/stack",
        response_model=StackView,
        responses=problems_of(
            HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY
        ),
        summary="Get the Python stack of a running attempt",
    )
    async def stack(
        task_id: TaskId, asked: Annotated[NamespaceQuery, Query()], caller: Operator
    ) -> Response:
        """Return what the attempt does just now, from its handler on, the newest call last.

        The answer is `409` if no attempt of the task has begun, or its process does not answer. A
        Ray remote task can be asked after its first second.
        """
        namespace = caller.namespace_for(asked.namespace)
        task, _ = await service.task(task_id, namespace)
        found = await service.backend.read(TaskStack(task_id))
        if found is None:
            raise Problem(
                HTTPStatus.CONFLICT, f"the task is {task.state}, and no attempt of it has begun"
            )
        if found.stack is None:
            raise Problem(
                HTTPStatus.CONFLICT,
                "the process of the attempt does not show its stack; it has just ended, or runs "
                "code that never lets Python work; try again",
            )
        shown = {"task_id": task_id, "attempt": found.attempt, "stack": found.stack}
        return json_answer(to_json(shown))

    return router


async def answer_get(
    service: Service, task_id: str, caller: Caller, namespace: str | None, wait_seconds: float
) -> Response:
    """Answer `GET /tasks/{task_id}`. `namespace` is the one in the query, or None.

    Raises the errors of `Service.task`, `Problem` also if the caller may not do it, and
    `ArtifactLost`.
    """
    caller.check(Scope.READ)
    task, history = await service.task(task_id, caller.namespace_for(namespace), wait_seconds)
    if task.payload_ref is not None or task.result_ref is not None:
        task = await asyncio.to_thread(service.values.load, task)
    waiting_for, live = await service.live.look(task)
    acts = await service.backend.read(TaskActs(task_id)) if task.has_acts else ()
    operates = caller.may(Scope.OPERATE)
    return json_answer(
        task_json(
            service.shown(task, operates=operates),
            history,
            tracebacks=operates,
            waiting_for=waiting_for,
            live=live,
            acts=acts,
        ),
        headers=etag_of(task),
    )


def service_router(service: Service) -> APIRouter:
    """Return the router of the endpoints for the service itself, and for the tasks' files."""
    router = APIRouter()

    @router.get("/task-types", summary="List the task types, with the schemas of their payloads")
    async def task_types(_caller: Reader) -> Response:
        """Return every type with its payload's JSON Schema, retry policy, timeout, Ray options."""
        return json_answer(service.task_types)

    @router.get(
        "/me",
        response_model=MeView,
        responses=problems_of(HTTPStatus.UNAUTHORIZED),
        summary="Tell who the caller is",
    )
    async def me(caller: AnyCaller) -> Response:
        """Return the name, the scopes and the namespace of the key. Any key may ask.

        Where no key is needed, the name is `local`.
        """
        if caller is STRANGER:
            raise key_missing()
        body = {
            "name": caller.name,
            "scopes": sorted(caller.scopes),
            "namespace": caller.namespace,
            "service": "raytasks",
            "version": __version__,
        }
        return json_answer(to_json(body))

    return router
