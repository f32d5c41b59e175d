"""The routes of bulk operations: a retry or a cancel of all tasks that a filter matches."""

from functools import cache
from http import HTTPStatus
from typing import Annotated, Any

import uuid_utils
from fastapi import APIRouter, Header, Path, Query, Request
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import to_json
from starlette.responses import Response

from raytasks.api.auth import NamespaceQuery, Operator, Reader
from raytasks.api.filter_fields import FilterFields, FilterView, filter_json
from raytasks.api.problems import Problem
from raytasks.api.request_bodies import read_json
from raytasks.api.route_service import (
    AWAY,
    BODY_PROBLEMS,
    Service,
    body_extra,
    json_answer,
    problems_of,
)
from raytasks.handling.submission import check_key, field_errors
from raytasks.model.bulk_operations import BulkAction, BulkFilter, BulkOperation, NewBulk
from raytasks.model.errors import InvalidSubmission
from raytasks.model.states import State
from raytasks.model.tasks import is_task_id
from raytasks.model.time_text import rfc3339
from raytasks.protocol.commands import StartBulk
from raytasks.protocol.queries import BulkById, BulkList, BulkMatches

BulkId = Annotated[str, Path(description="The id that `POST /bulk` was answered with.")]

BulkKey = Annotated[
    str | None,
    Header(
        description="Of all requests with the same key only the first makes an operation; the "
        "others are answered with it. 1 to 255 printable ASCII characters."
    ),
]


def _states(value: Any) -> list[State]:
    """Return the states that a request names: one, a list of them, or null for any."""
    if value == []:
        raise ValueError("name at least one, or null")
    given = [] if value is None else value if isinstance(value, list) else [value]
    try:
        return [State(name) for name in given]
    except ValueError:
        names = ", ".join(repr(state.value) for state in State)
        raise ValueError(f"must be one of {names}, a list of them, or null") from None


class BulkRequest(FilterFields):
    """The body of `POST /bulk`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"action": "retry", "state": "FAILED", "task_type": "text_processing"}]
        },
    )

    action: BulkAction
    state: Annotated[list[State], PlainValidator(_states)] = Field(
        default_factory=list,
        description="Of a retry: FAILED (also where this is left out), CANCELLED, or null for "
        "both. Of a cancel: PENDING, RETRYING, RUNNING, or null (or left out) for all three. Of a "
        "deletion: COMPLETED, FAILED, CANCELLED, or null (or left out) for all three. A list names "
        "several.",
    )
    dry_run: bool = Field(default=False, description="Only count the tasks.")
    all: bool = Field(
        default=False,
        validate_default=True,
        description="Must be true where no part of the filter says which tasks are to be changed.",
    )

    @field_validator("state")
    @classmethod
    def _fits_the_action(cls, states: list[State], info: ValidationInfo) -> list[State]:
        action: BulkAction | None = info.data.get("action")
        if action is not None and not set(states) <= set(action.sources):
            fitting = ", ".join(action.sources)
            raise ValueError(f"to {action}, it must be one of {fitting}, or null for all of them")
        return states

    @field_validator("all")
    @classmethod
    def _is_said(cls, all_of_them: bool, info: ValidationInfo) -> bool:
        if not {"action", *_NARROWING, "dry_run"} <= info.data.keys():
            return all_of_them  # another check reports this
        narrowed = any(info.data[name] not in (None, []) for name in _NARROWING)
        if not (narrowed or all_of_them or info.data["dry_run"]):
            raise ValueError(f"give {_LISTED}; or true, if all are really meant")
        if narrowed and all_of_them:
            raise ValueError(f"leave it out where {_LISTED} is given")
        return all_of_them

    def filter(self, namespace: str, *, ids_by_clock: bool) -> BulkFilter:
        """Return the filter of the operation. A retry is for FAILED tasks by default."""
        states = self.state
        if self.action is BulkAction.RETRY and "state" not in self.model_fields_set:
            states = [State.FAILED]
        tasks = self.filter_in(namespace, states, ids_by_clock=ids_by_clock)
        return BulkFilter(self.action, tasks)


_NARROWING = ("state", "task_type", "tag", "created_after", "created_before", "error_type")
_LISTED = "state, task_type, tag, created_after, created_before or error_type"


class MatchedView(BaseModel):
    """How many tasks a filter matches. It is null if very many would have to be looked at."""

    matched: int | None


class BulkView(BaseModel):
    """A bulk operation: RUNNING until it has looked at all its tasks, then DONE.

    `matched` is how many tasks the filter matched at the start (null: too many to count). A retry
    leaves tasks as they are whose unique keys others hold: `skipped` is their number. The field
    `held_by` is `backlog_full` while a retry waits because RAYTASKS_MAX_BACKLOG allows no more
    tasks. It is `namespace_full` while the `max_backlog` of its namespace does not. `by` is who has
    begun it.
    """

    model_config = ConfigDict(title="BulkOperation")

    bulk_id: str
    action: BulkAction
    state: Annotated[str, Field(pattern="^(RUNNING|DONE)$")]
    filter: FilterView
    matched: int | None
    looked_at: int
    changed: int
    skipped: int
    created_at: AwareDatetime
    finished_at: AwareDatetime | None
    held_by: str | None
    by: str


class BegunBulkView(BulkView):
    """A bulk operation that was just accepted.

    For a retry, `warnings` names tasks that would wait for ever: their type has no handler.
    """

    model_config = ConfigDict(title="BegunBulkOperation")

    warnings: list[str]


class BulkListView(BaseModel):
    """The newest bulk operations, the newest first; at most 100."""

    operations: list[BulkView]


def bulk_router(service: Service) -> APIRouter:
    """Return the router of the endpoints for bulk operations."""
    router = APIRouter()

    @router.post(
        "/bulk",
        status_code=202,
        response_model=BegunBulkView,
        responses={
            **BODY_PROBLEMS,
            200: {
                "description": "The count that `dry_run` asks for; or the operation that the same "
                "request with this key made before.",
                "model": MatchedView | BegunBulkView,
            },
        },
        summary="Retry, cancel or delete all tasks that a filter matches",
        openapi_extra=body_extra(_body_schema()),
    )
    async def start(
        request: Request,
        place: Annotated[NamespaceQuery, Query()],
        caller: Operator,
        idempotency_key: BulkKey = None,
    ) -> Response:
        """Begin the operation. It is on disk when the answer comes, and continues by itself.

        With `dry_run`, the answer is only the count of the tasks. A retry of a `task_type` that no
        longer has a handler is a `409`.
        """
        namespace = caller.namespace_for(place.namespace)
        asked = _checked(
            await read_json(
                request.scope, request.receive, service.max_payload_bytes, service.max_depth
            )
        )
        if idempotency_key is not None:
            check_key(idempotency_key)
        meant = asked.filter(namespace, ids_by_clock=service.ids_by_clock)
        if asked.dry_run:
            matched = await service.backend.read(BulkMatches(meant))
            return json_answer(to_json({"matched": matched}))
        if asked.action is BulkAction.RETRY and asked.task_type is not None:
            service.check_handler(asked.task_type)
        new = NewBulk(str(uuid_utils.uuid7()), meant, service.clock(), idempotency_key, caller.name)
        operation, made = await service.backend.execute(StartBulk(new))
        headers = {"Location": f"/bulk/{operation.bulk_id}"}
        status = HTTPStatus.ACCEPTED if made else HTTPStatus.OK
        shown = {**_shown(operation), "warnings": await _warnings(service, meant)}
        return json_answer(to_json(shown), status, headers)

    @router.get(
        "/bulk/{bulk_id}",
        response_model=BulkView,
        responses=problems_of(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="Get a bulk operation",
    )
    async def get(
        bulk_id: BulkId, place: Annotated[NamespaceQuery, Query()], caller: Reader
    ) -> Response:
        """Return how far the operation has come."""
        found = None
        if is_task_id(bulk_id):
            namespace = caller.namespace_for(place.namespace)
            found = await service.backend.read(BulkById(bulk_id, namespace))
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"there is no bulk operation {bulk_id[:100]}")
        return json_answer(to_json(_shown(found)))

    @router.get(
        "/bulk",
        response_model=BulkListView,
        responses=problems_of(HTTPStatus.UNPROCESSABLE_ENTITY, AWAY),
        summary="List the newest bulk operations",
    )
    async def newest(place: Annotated[NamespaceQuery, Query()], caller: Reader) -> Response:
        """Return the newest operations, done or not, the newest first; at most 100."""
        found = await service.backend.read(BulkList(caller.namespace_for(place.namespace)))
        return json_answer(to_json({"operations": [_shown(operation) for operation in found]}))

    return router


async def _warnings(service: Service, meant: BulkFilter) -> list[str]:
    if meant.action is not BulkAction.RETRY or meant.tasks.task_type is not None:
        return []
    lost = await service.without_handler(meant.namespace, meant.states)
    if not lost:
        return []
    return [
        f"there is no handler in this version for {', '.join(lost)}; tasks of these types that are "
        "retried wait for ever, unless a version comes that has one"
    ]


def _checked(value: Any) -> BulkRequest:
    try:
        return BulkRequest.model_validate(value)
    except ValidationError as error:
        raise InvalidSubmission("the request is not valid", field_errors(error)) from None


_STATE = {"type": "string", "enum": [state.value for state in State]}


@cache
def _body_schema() -> dict[str, Any]:
    schema = BulkRequest.model_json_schema()
    known = schema.pop("$defs")
    schema["properties"]["action"] = known["BulkAction"]
    state = schema["properties"]["state"]
    state["anyOf"] = [_STATE, {"type": "array", "items": _STATE}, {"type": "null"}]
    return schema


def _shown(operation: BulkOperation) -> dict[str, Any]:
    return {
        "bulk_id": operation.bulk_id,
        "action": operation.filter.action,
        "state": "RUNNING" if operation.finished_at is None else "DONE",
        "filter": filter_json(operation.filter.tasks),
        "matched": operation.matched,
        "looked_at": operation.looked_at,
        "changed": operation.changed,
        "skipped": operation.skipped,
        "created_at": rfc3339(operation.created_at),
        "finished_at": rfc3339(operation.finished_at),
        "held_by": operation.held_by,
        "by": operation.by,
    }
