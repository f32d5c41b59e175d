"""The plain requests: those of the two busiest endpoints that need nothing of the framework."""

import re

from starlette.types import Scope

from raytasks.model.bounds import MAX_WAIT_SECONDS
from raytasks.model.tasks import is_task_id

TASKS = "/tasks/"

_WAIT = re.compile(rb"wait=([0-9]{1,2}(?:\.[0-9]{1,9})?)")


def plain_wait(scope: Scope) -> float | None:
    """Return how many seconds a plain request may wait for a task; None if it is not plain.

    Plain are `POST /tasks/` and `GET /tasks/{task_id}` with no query, or a `wait=` that is
    certainly valid.
    """
    if scope["type"] != "http" or scope.get("root_path"):
        return None
    method, path, query = scope["method"], scope["path"], scope.get("query_string", b"")
    if method == "POST" and path == TASKS and not query:
        return 0.0
    if method == "GET" and path.startswith(TASKS) and is_task_id(path[len(TASKS) :]):
        return _valid_wait(query)
    return None


def _valid_wait(query: bytes) -> float | None:
    if not query:
        return 0.0
    wait = _WAIT.fullmatch(query)
    seconds = None if wait is None else float(wait[1])
    return None if seconds is None or seconds > MAX_WAIT_SECONDS else seconds
