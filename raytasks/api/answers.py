"""What all routes answer with: JSON, and the problems that their documents tell of."""

from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from raytasks.api.problems import ProblemView
from raytasks.models import TaskNotFound, is_task_id

AWAY = HTTPStatus.SERVICE_UNAVAILABLE


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """Return the documents of answers with problems of these statuses."""
    return {
        status.value: {"description": status.phrase, "model": ProblemView} for status in statuses
    }


def json_answer(
    body: bytes, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None
) -> Response:
    """Return an answer of JSON text."""
    return Response(body, status.value, headers, media_type="application/json")


def check_id(task_id: str) -> None:
    """Refuse what cannot be the id of a task, before the database is asked.

    Raises `TaskNotFound`.
    """
    if not is_task_id(task_id):
        raise TaskNotFound(f"there is no task {task_id[:100]}")
