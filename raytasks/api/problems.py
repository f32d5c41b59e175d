"""Errors as `application/problem+json` (RFC 9457)."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import compile_path

from raytasks.artifacts.large_values import ArtifactLost
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.json_places import pointer
from raytasks.model.tasks import (
    BacklogFull,
    KeyConflict,
    RaytasksError,
    RevisionConflict,
    StateConflict,
    StoreUnavailable,
    TaskNotFound,
    TimesRefused,
    UniqueConflict,
)

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1


class FieldErrorView(BaseModel):
    """An error in one field. `pointer` is a JSON pointer, or `?name` for a query value."""

    pointer: str
    message: str


class ProblemView(BaseModel):
    """A problem document. If a unique key is held, `task_id` is the task that holds it."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldErrorView] = []
    task_id: str | None = None


class Problem(Exception):
    """Raised by a route to answer with this problem."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        task_id: str | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers
        self.task_id = task_id


HANDLED: tuple[type[Exception], ...] = (
    Problem,
    RaytasksError,
    HTTPException,
    RequestValidationError,
    ClientDisconnect,
)
"""The errors that are answered with a problem.

Any other error is our bug, and the server logs it, too.
"""


def problem_response(problem: Problem) -> Response:
    """Return the HTTP answer for a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
    }
    if problem.task_id:
        body["task_id"] = problem.task_id
    if problem.errors:
        body["errors"] = [
            {"pointer": error.pointer, "message": error.message} for error in problem.errors
        ]
    return Response(
        to_json(body), problem.status.value, dict(problem.headers or {}), media_type=CONTENT_TYPE
    )


def problem_of(error: Exception) -> Problem:
    """Return the problem that an exception means to a client."""
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)}
    match error:
        case Problem():
            return error
        case InvalidSubmission():
            return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.detail, error.errors)
        case TaskNotFound():
            return Problem(HTTPStatus.NOT_FOUND, str(error))
        case UniqueConflict() | TimesRefused():
            return _with_fields(error)
        case StateConflict() | KeyConflict():
            return Problem(HTTPStatus.CONFLICT, str(error))
        case RevisionConflict():
            return Problem(HTTPStatus.PRECONDITION_FAILED, str(error))
        case ArtifactLost():
            return Problem(HTTPStatus.GONE, f"{error}; GET /tasks/ still lists the rest of it")
        case BacklogFull():
            return Problem(HTTPStatus.TOO_MANY_REQUESTS, str(error), headers=retry)
        case StoreUnavailable():
            return Problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=retry)
        case RequestValidationError():
            return Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY, "the request is not valid", _places(error)
            )
        case HTTPException() | ClientDisconnect():
            return _framework_problem(error)
        case _:
            log.error("an error of our own", exc_info=error)
            return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an error of raytasks; see its log")


def install(app: FastAPI) -> None:
    """Answer every error of the app with a problem document."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem.status is HTTPStatus.METHOD_NOT_ALLOWED:
            problem = _wrong_method(app, request.url.path, problem)
        return problem_response(problem)

    for kind in (*HANDLED, Exception):
        app.add_exception_handler(kind, answer)


def _with_fields(error: UniqueConflict | TimesRefused) -> Problem:
    if isinstance(error, TimesRefused):
        detail = "the tracker cannot compute the times of this schedule"
        return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, [FieldError(*error.fault)])
    errors = [FieldError(place, "is held by another task") for place in error.pointers]
    return Problem(HTTPStatus.CONFLICT, str(error), errors, task_id=error.task_id)


def _framework_problem(error: HTTPException | ClientDisconnect) -> Problem:
    if isinstance(error, ClientDisconnect):  # nobody gets this answer
        return Problem(HTTPStatus.BAD_REQUEST, "the client has left within the body")
    status = HTTPStatus(error.status_code)
    detail = error.detail if error.detail != status.phrase else ""
    match status:
        case HTTPStatus.NOT_FOUND:
            detail = "there is nothing at this path; /docs shows what there is"
    return Problem(status, detail or status.phrase, headers=error.headers)


def _wrong_method(app: FastAPI, path: str, problem: Problem) -> Problem:
    """Return the problem with all methods of the path.

    The framework names those of one route only.
    """
    allowed = {
        method.upper()
        for template, methods in app.openapi()["paths"].items()
        if compile_path(template)[0].match(path)
        for method in methods
    }
    named = ", ".join(sorted(allowed)) or (problem.headers or {}).get("Allow", "")
    detail = f"this path does not take that method; it takes {named}"
    return Problem(problem.status, detail, headers={"Allow": named})


def _places(error: RequestValidationError) -> list[FieldError]:
    places = []
    for item in error.errors():
        kind, *rest = item["loc"]
        where = f"?{rest[0]}" if kind == "query" and rest else pointer(*rest)
        places.append(FieldError(where, item["msg"]))
    return places
