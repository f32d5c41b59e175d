"""The routes that change a task: new values, another run with new values, and its deletion."""

import asyncio
import re
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from msgspec.structs import replace
from starlette.responses import Response

from raytasks.api.auth import Caller, NamespaceQuery, Operator, Submitter
from raytasks.api.large_payloads import LargePayloads
from raytasks.api.problems import Problem
from raytasks.api.request_bodies import read_json
from raytasks.api.route_service import (
    AWAY,
    BODY_PROBLEMS,
    Service,
    check_id,
    etag_of,
    json_answer,
    problems_of,
    schema_of,
)
from raytasks.api.routes import TaskId
from raytasks.api.task_models import TaskView
from raytasks.api.views import task_json
from raytasks.api_keys import Scope
from raytasks.artifacts.large_values import ArtifactLost
from raytasks.handling.change_checks import check_changes, has_keyed_limits, needs_handler
from raytasks.handling.change_request import ChangeRequest
from raytasks.model.changes import TaskChanges
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.states import TRANSITIONS, Event
from raytasks.model.tasks import RevisionConflict, StateConflict, Task, TaskNotFound
from raytasks.protocol.commands import ChangeTask, DeleteTask, RetryTask
from raytasks.protocol.queries import TasksById

_REVISION = re.compile(r'"([0-9]{1,18})"')

IfMatch = Annotated[
    str | None,
    Header(
        description="The `ETag` that the task was read with: its revision in double quotes. The "
        "task is changed only if it still has this revision."
    ),
]


def change_router(service: Service) -> APIRouter:
    """Return the router of the endpoints that change a task."""
    router = APIRouter()
    changing = _Changing(service)

    @router.patch(
        "/tasks/{task_id}",
        response_model=TaskView,
        responses={
            **BODY_PROBLEMS,
            **problems_of(
                HTTPStatus.NOT_FOUND,
                HTTPStatus.PRECONDITION_FAILED,
                HTTPStatus.PRECONDITION_REQUIRED,
            ),
        },
        summary="Change a task that waits",
        openapi_extra=_body(required=True),
    )
    async def update(
        task_id: TaskId,
        request: Request,
        asked: Annotated[NamespaceQuery, Query()],
        caller: Submitter,
        if_match: IfMatch = None,
    ) -> Response:
        """Give the task new values for what is in the body; its revision grows by one.

        The header `If-Match` is needed. The answer is `412` if the task has changed since, and
        `409` if it runs or has ended. The same request may be sent again: it is answered as before.
        A new payload drops the checkpoint.
        """
        revision = _revision(if_match)
        task = await changing.find(task_id, caller.namespace_for(asked.namespace))
        changes = await changing.check(await changing.read(request), task)
        after = await changing.send(
            task,
            changes,
            lambda sent: service.backend.execute(
                ChangeTask(task_id, revision, sent, task.namespace, caller.name)
            ),
        )
        return changing.answer(after, caller)

    @router.post(
        "/tasks/{task_id}/retry",
        status_code=202,
        response_model=TaskView,
        responses={
            **BODY_PROBLEMS,
            **problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.PRECONDITION_FAILED),
        },
        summary="Run a FAILED or CANCELLED task again",
        openapi_extra=_body(required=False),
    )
    async def retry(
        task_id: TaskId,
        request: Request,
        asked: Annotated[NamespaceQuery, Query()],
        caller: Operator,
        if_match: IfMatch = None,
    ) -> Response:
        """Make the task PENDING, with a fresh budget of attempts; its history stays.

        With a body, some of its values change, as by `PATCH /tasks/{task_id}`. The answer is `409`
        for a task in another state. It is also `409` if its type no longer has a handler: the task
        would wait for ever.

        With the header `If-Match` the same request may be sent again: the task is retried once. The
        answer is `412` if the task has failed again since, or was changed.
        """
        task = await changing.find(task_id, caller.namespace_for(asked.namespace))
        service.check_handler(task.task_type)
        revision = task.revision if if_match is None else _revision(if_match)
        if if_match is None and task.state not in TRANSITIONS[Event.RETRY].sources:
            raise StateConflict(
                f"the task is {task.state}; only FAILED and CANCELLED tasks can be retried"
            )
        # A call of the tracker may arrive twice; it is for the task as it was found here.
        command = RetryTask(task_id, task.namespace, caller.name, revision=revision)
        body = await changing.read(request) if _has_body(request) else {}
        try:
            if body == {}:
                after = await service.backend.execute(command)
            else:
                changes = await changing.check(body, task)
                if changes.sets_expiry and task.attempt:
                    raise StateConflict("the task has begun before, so it can no longer expire")
                after = await changing.send(
                    task,
                    changes,
                    lambda sent: service.backend.execute(replace(command, changes=sent)),
                )
        except RevisionConflict as error:
            if if_match is None:
                raise StateConflict(str(error)) from None
            raise
        return changing.answer(after, caller, HTTPStatus.ACCEPTED)

    @router.delete(
        "/tasks/{task_id}",
        status_code=204,
        response_model=None,
        responses=problems_of(
            HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY
        ),
        summary="Delete a task that has ended",
    )
    async def delete(
        task_id: TaskId, asked: Annotated[NamespaceQuery, Query()], caller: Operator
    ) -> Response:
        """Delete the task with its attempts, log lines and files, as retention does later.

        The answer is `409` for a task that has not ended. Its idempotency key is free again.
        """
        namespace = caller.namespace_for(asked.namespace)
        check_id(task_id)
        await service.backend.execute(DeleteTask(task_id, namespace, caller.name))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return router


class _Changing:
    """The work that changes and retries have in common."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._payloads = LargePayloads(service)

    async def find(self, task_id: str, namespace: str) -> Task:
        """Return a task of a namespace. Raises `TaskNotFound`."""
        check_id(task_id)
        task = (await self._service.backend.read(TasksById([task_id]))).get(task_id)
        if task is None or task.namespace != namespace:
            raise TaskNotFound(f"there is no task {task_id}")
        return task

    async def read(self, request: Request) -> Any:
        """Return the body of a request. Raises `Problem`."""
        service = self._service
        return await read_json(
            request.scope, request.receive, service.max_payload_bytes, service.max_depth
        )

    async def check(self, body: Any, task: Task) -> TaskChanges:
        """Return the changes that a body asks for. Raises `Problem` and `InvalidSubmission`."""
        service = self._service
        spec = service.registry.get(task.task_type)
        if needs_handler(body):
            service.check_handler(task.task_type)
        check = partial(
            check_changes,
            body,
            task,
            spec,
            now=service.clock(),
            bounds=service.payload_bounds,
            old_payload=await self._payload_of(task) if has_keyed_limits(spec) else None,
            parsed=True,
        )
        if spec is not None and spec.checks_by_user_code and needs_handler(body):
            return await service.check_threads.run([spec.task_type], check)
        return check()

    async def _payload_of(self, task: Task) -> str | None:
        if task.payload_ref is None:
            return task.payload
        try:
            return await asyncio.to_thread(self._service.values.load_payload, task)
        except ArtifactLost:
            return None

    async def send(self, task: Task, changes: TaskChanges, send: Any) -> Task:
        """Have the tracker change the task. Raises the errors of its command."""
        return await self._payloads.change(task.task_id, changes, send)

    def answer(self, task: Task, caller: Caller, status: HTTPStatus = HTTPStatus.OK) -> Response:
        """Answer with a task that was changed."""
        operates = caller.may(Scope.OPERATE)
        shown = self._service.shown(task, operates=operates)
        return json_answer(task_json(shown, tracebacks=operates), status, etag_of(task))


def _revision(if_match: str | None) -> int:
    """Return the revision that a request names. Raises `Problem` 428, `InvalidSubmission`."""
    if if_match is None:
        raise Problem(
            HTTPStatus.PRECONDITION_REQUIRED,
            "say which revision you change: send the task's ETag in the header If-Match",
        )
    found = _REVISION.fullmatch(if_match.strip())
    if found is None:
        message = 'must be one revision in double quotes, such as "3": the task\'s ETag'
        raise InvalidSubmission("the header is not valid", [FieldError("If-Match", message)])
    return int(found[1])


def _has_body(request: Request) -> bool:
    """Return whether a request has a body."""
    length = request.headers.get("content-length")
    return "transfer-encoding" in request.headers if length is None else length != "0"


def _body(*, required: bool) -> dict[str, Any]:
    content = {"application/json": {"schema": schema_of(ChangeRequest)}}
    return {"requestBody": {"required": required, "content": content}}
