"""The routes that take new tasks: one, or a batch."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Query, Request
from msgspec import json
from starlette.responses import Response
from starlette.types import Receive
from starlette.types import Scope as ASGIScope

from raytasks.api.auth import Caller, NamespaceQuery, Submitter
from raytasks.api.headers import first_value
from raytasks.api.large_payloads import LargePayloads
from raytasks.api.request_bodies import read_json
from raytasks.api.route_service import (
    BODY_PROBLEMS,
    Service,
    body_extra,
    etag_of,
    json_answer,
    schema_of,
)
from raytasks.api.task_models import BatchView, TaskView
from raytasks.api.views import accepted, task_json, tasks_json
from raytasks.api_keys import Scope
from raytasks.handling.duplicates import answered_places, owners_of
from raytasks.handling.repeated_requests import keyed_batch, keyed_submission, were_accepted
from raytasks.handling.submission import check_batch, check_submission, signed
from raytasks.handling.submit_request import BatchRequest, SubmitRequest
from raytasks.handling.tracing import sent
from raytasks.model.errors import InvalidSubmission
from raytasks.model.tasks import NewTask, StoreUnavailable, Task
from raytasks.model.trace_context import trace_context
from raytasks.protocol.queries import RepeatedSubmissions, TasksById

Checked = TypeVar("Checked")

_DUPLICATE = "Raytasks-Duplicate"
_HEADERS = {
    _DUPLICATE: {
        "description": "`true` if a task is the holder of a unique key, not a new one.",
        "schema": {"type": "string"},
    }
}
_ANSWERED = (
    "Nothing new was stored: the same request with this idempotency key came before, or other "
    "tasks hold the unique keys and are the answer."
)

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="Of all requests with the same key only the first makes tasks; the others "
        "are answered with those. 1 to 255 printable ASCII characters, 250 for a batch."
    ),
]


def submission_router(submissions: "Submissions") -> APIRouter:
    """Return the router of the endpoints that take new tasks."""
    router = APIRouter()

    @router.post(
        "/tasks/",
        status_code=202,
        response_model=TaskView,
        responses={
            **BODY_PROBLEMS,
            200: {"description": _ANSWERED, "model": TaskView, "headers": _HEADERS},
        },
        summary="Submit a task",
        openapi_extra=body_extra(schema_of(SubmitRequest)),
    )
    async def submit(
        request: Request,
        asked: Annotated[NamespaceQuery, Query()],
        caller: Submitter,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Accept a task.

        The answer comes when the task is on disk. From then on it is never lost.
        """
        return await submissions.answer_one(
            request.scope, request.receive, caller, asked.namespace, idempotency_key
        )

    @router.post(
        "/tasks/batch",
        status_code=202,
        response_model=BatchView,
        responses={
            **BODY_PROBLEMS,
            200: {"description": _ANSWERED, "model": BatchView, "headers": _HEADERS},
        },
        summary="Submit up to 1,000 tasks, all or none",
        openapi_extra=body_extra(_batch_schema()),
    )
    async def submit_batch(
        request: Request,
        asked: Annotated[NamespaceQuery, Query()],
        caller: Submitter,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """Accept all tasks of the batch, or none. An error names each bad task by its index."""
        return await submissions.answer_batch(
            request.scope, request.receive, caller, asked.namespace, idempotency_key
        )

    return router


class Submissions:
    """The work of the endpoints that take new tasks.

    Its methods take the request's body, the namespace in its query, and its idempotency key. They
    raise `Problem`, `InvalidSubmission`, `KeyConflict`, `UniqueConflict`, `BacklogFull`,
    `StoreUnavailable`.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._payloads = LargePayloads(service)

    async def answer_one(
        self,
        scope: ASGIScope,
        receive: Receive,
        caller: Caller,
        namespace: str | None,
        idempotency_key: str | None,
    ) -> Response:
        """Answer `POST /tasks/`."""
        service = self._service
        caller.check(Scope.SUBMIT)
        namespace = caller.namespace_for(namespace)
        body = await read_json(scope, receive, service.max_payload_bytes, service.max_depth)
        try:
            new = [await self._checked(check_submission, [body], body, namespace, idempotency_key)]
        except InvalidSubmission:
            new = keyed_submission(body, **self._asked(namespace, idempotency_key))
            if (before := await self._accepted_before(new)) is None:
                raise
            [first], places = before
        else:
            [first], places = await self._submit(new, scope, caller)
        headers = _told(places)
        headers |= {"Location": f"/tasks/{first.task_id}", **etag_of(first)}
        status = HTTPStatus.ACCEPTED if first.task_id == new[0].task_id else HTTPStatus.OK
        operates = caller.may(Scope.OPERATE)
        shown = service.shown(first, operates=operates)
        return json_answer(task_json(shown, tracebacks=operates), status, headers)

    async def answer_batch(
        self,
        scope: ASGIScope,
        receive: Receive,
        caller: Caller,
        namespace: str | None,
        idempotency_key: str | None,
    ) -> Response:
        """Answer `POST /tasks/batch`."""
        service = self._service
        caller.check(Scope.SUBMIT)
        namespace = caller.namespace_for(namespace)
        body = await read_json(
            scope, receive, service.max_batch_bytes, service.max_depth, "RAYTASKS_MAX_BATCH_BYTES"
        )
        items = body.get("tasks") if isinstance(body, dict) else None
        items = items if isinstance(items, list) else []
        try:
            new = await self._checked(check_batch, items, body, namespace, idempotency_key)
        except InvalidSubmission:
            new = keyed_batch(body, **self._asked(namespace, idempotency_key))
            if (before := await self._accepted_before(new)) is None:
                raise
            found, places = before
        else:
            found, places = await self._submit(new, scope, caller, first=0)
        stored = any(task.task_id == mine.task_id for task, mine in zip(found, new, strict=True))
        status = HTTPStatus.ACCEPTED if stored else HTTPStatus.OK
        operates = caller.may(Scope.OPERATE)
        shown = [service.shown(task, operates=operates) for task in found]
        listed = tasks_json(shown, tracebacks=operates)
        body = listed[:-1] + b',"duplicates":' + json.encode(places) + b"}"
        return json_answer(body, status, _told(places))

    async def _checked(
        self,
        check: Callable[..., Checked],
        items: Sequence[Any],
        body: Any,
        namespace: str,
        idempotency_key: str | None,
    ) -> Checked:
        """Check a body with these tasks in it: in a thread, if a check runs the user's code."""
        service = self._service
        call = partial(
            check,
            body,
            service.registry,
            now=service.clock(),
            callbacks=service.callbacks,
            **self._asked(namespace, idempotency_key),
        )
        given = (item.get("task_type") for item in items if isinstance(item, dict))
        named = {name for name in given if isinstance(name, str)}
        specs = map(service.registry.get, sorted(named))
        slow = [spec.task_type for spec in specs if spec is not None and spec.checks_by_user_code]
        return await service.check_threads.run(slow, call) if slow else call()

    def _asked(self, namespace: str, idempotency_key: str | None) -> dict[str, Any]:
        """Return the arguments that the checks of a body share."""
        return {
            "namespace": namespace,
            "idempotency_key": idempotency_key,
            "bounds": self._service.payload_bounds,
            "parsed": True,
        }

    async def _accepted_before(
        self, keyed: Sequence[NewTask]
    ) -> tuple[list[Task], list[int]] | None:
        """Return the tasks of a refused request that was accepted before; None for any other.

        Return also the places of those that hold a unique key.
        """
        if not keyed:
            return None
        duplicates = await self._service.backend.read(RepeatedSubmissions(keyed))
        if not were_accepted(keyed, duplicates):
            return None
        return await self._found(owners_of(keyed, duplicates)), answered_places(keyed, duplicates)

    async def _submit(
        self, new: Sequence[NewTask], scope: ASGIScope, caller: Caller, *, first: int | None = None
    ) -> tuple[list[Task], list[int]]:
        """Store the tasks, or find those that hold their keys; return them.

        Return also the places of those that hold a unique key. Of a batch, `first` is the place of
        its first task.
        """
        with sent(signed(new, caller.name), _trace_of(scope)) as traced:
            new, duplicates = await self._payloads.submit(traced)
        owners = owners_of(new, duplicates, first=first)
        places = answered_places(new, duplicates)
        stored_now = all(mine == task.task_id for mine, task in zip(owners, new, strict=True))
        if stored_now and duplicates.at is not None:
            return [accepted(task, duplicates.at) for task in new], places
        # Else the time is unknown if this very call was sent before.
        return await self._found(owners), places

    async def _found(self, task_ids: Sequence[str]) -> list[Task]:
        found = await self._service.backend.read(TasksById(task_ids))
        if len(found) < len(set(task_ids)):
            raise StoreUnavailable("the task with this key has just been pruned; try again")
        return [found[task_id] for task_id in task_ids]


def _told(places: Sequence[int]) -> dict[str, str]:
    """Return the header that tells of tasks which hold a unique key, if there are any."""
    return {_DUPLICATE: "true"} if places else {}


def _trace_of(scope: ASGIScope) -> str | None:
    parent = first_value(scope, b"traceparent")
    return parent and trace_context(parent, first_value(scope, b"tracestate"))


@cache
def _batch_schema() -> dict[str, Any]:
    schema = BatchRequest.model_json_schema()
    schema["properties"]["tasks"]["items"] = schema_of(SubmitRequest)
    return schema
