"""The client's errors, as exceptions."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

from raytasks.client.documents import TaskDocument
from raytasks.model.tasks import RaytasksError, TaskFailed


class ApiError(RaytasksError):
    """The API answered with an error. `problem` is its problem document (RFC 9457).

    `retry_after` is how many seconds it asks to wait, or None.
    """

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after: float | None = None
    ) -> None:
        super().__init__(status, problem, retry_after)
        self.status = status
        self.problem = problem
        self.retry_after = retry_after

    @property
    def errors(self) -> Sequence[Mapping[str, Any]]:
        """The errors by field: `pointer` and `message` of each."""
        return cast("Sequence[Mapping[str, Any]]", self.problem.get("errors") or ())

    def __str__(self) -> str:
        title, detail = self.problem.get("title") or self.status, self.problem.get("detail")
        lines = [f"{title}: {detail}" if detail else str(title)]
        for error in self.errors:
            where = error.get("pointer") or "the request"
            lines.append(f"  {where}: {error.get('message')}")
        return "\n".join(lines)


class Unauthorized(ApiError):
    """401: the API wants a key, or does not know this one."""


class Forbidden(ApiError):
    """403: the key does not allow this, or is bound to another namespace."""


class NotFound(ApiError):
    """404: it does not exist, at least not in this namespace."""


class Conflict(ApiError):
    """409: the task's state does not allow it, or a key belongs to another task."""

    @property
    def task_id(self) -> str | None:
        """The id of the task that holds the unique key; None if that is not the reason."""
        found: str | None = self.problem.get("task_id")
        return found


class RevisionChanged(ApiError):
    """412: the task has changed since it was read. Read it again, and change what it is now."""


class Gone(ApiError):
    """410: the task is known, but a file with its payload or result is lost."""


class Invalid(ApiError):
    """400, 413, 415 or 422: the request is not valid; `errors` names the fields."""


class TooManyRequests(ApiError):
    """429: too many tasks wait; try again after `retry_after` seconds."""


_KINDS: Mapping[int, type[ApiError]] = {
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Gone,
    HTTPStatus.PRECONDITION_FAILED: RevisionChanged,
    HTTPStatus.BAD_REQUEST: Invalid,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Invalid,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Invalid,
    HTTPStatus.UNPROCESSABLE_ENTITY: Invalid,
    HTTPStatus.TOO_MANY_REQUESTS: TooManyRequests,
}


def api_error(status: int, problem: Mapping[str, Any], retry_after: float | None) -> ApiError:
    """Return the exception for a problem document, of the class for its status, if there is one."""
    return _KINDS.get(status, ApiError)(status, problem, retry_after)


class BadArgument(RaytasksError, ValueError):
    """An argument of the client is not valid. The text says what it must be."""


class ServiceUnavailable(RaytasksError):
    """No raytasks service answers at the URL, or not in time."""


class WaitTimeout(RaytasksError):
    """The task, or the operation, had not ended when the time was up.

    `document` is how it was seen last. If the service has not answered meanwhile, it has only the
    id.
    """

    def __init__(self, document: Mapping[str, Any], seconds: float) -> None:
        super().__init__(document, seconds)
        self.document = document
        self.seconds = seconds

    def __str__(self) -> str:
        kind = "bulk operation" if "bulk_id" in self.document else "task"
        name = self.document.get("bulk_id") or self.document.get("task_id")
        state = self.document.get("state")
        if state is None:
            return f"the service did not say within {self.seconds:g} seconds how {kind} {name} is"
        return f"{kind} {name} is still {state} after {self.seconds:g} seconds"


def task_failed(task: TaskDocument) -> TaskFailed:
    """Return the error for a task that was run and ended as FAILED or CANCELLED."""
    error = task["error"]
    reason = f": {error['type']}: {error['message']}" if error else ""
    return TaskFailed(f"task {task['task_id']} is {task['state']}{reason}", task)
