"""The fast path to the two busiest endpoints: it skips the framework's own work."""

import re
from collections.abc import Coroutine
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from raytasks.api.auth import Caller
from raytasks.api.headers import first_value
from raytasks.api.problems import HANDLED, problem_of, problem_response
from raytasks.api.route_service import Service
from raytasks.api.routes import answer_get
from raytasks.api.submissions import Submissions
from raytasks.model.bounds import MAX_WAIT_SECONDS
from raytasks.model.tasks import is_task_id

_TASKS = "/tasks/"
_WAIT = re.compile(rb"wait=([0-9]{1,2}(?:\.[0-9]{1,9})?)")


class FastPath:
    """An ASGI wrapper that answers plain requests of `POST /tasks/` and `GET /tasks/{task_id}`.

    The framework matches routes, reads query and headers into models, and resolves the endpoint's
    dependencies. That costs more than the endpoint. If the query is empty, or a plain `wait=`, this
    calls the function behind the endpoint at once. All other requests go to the app, which would
    give the same answer; so do queries that could be wrong.
    """

    def __init__(self, app: ASGIApp, service: Service, submissions: Submissions) -> None:
        self._app = app
        self._service = service
        self._submissions = submissions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on."""
        answering = self._answering(scope, receive)
        if answering is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await answering
        except Exception as error:
            await problem_response(problem_of(error))(scope, receive, send)
            if not isinstance(error, HANDLED):
                raise  # for the server's log, as the framework does
            return
        await response(scope, receive, send)

    def _answering(self, scope: Scope, receive: Receive) -> Coroutine[Any, Any, Response] | None:
        if scope["type"] != "http" or scope.get("root_path"):
            return None
        method, path, query = scope["method"], scope["path"], scope.get("query_string", b"")
        if method == "POST" and path == _TASKS and not query:
            caller: Caller = scope["state"]["caller"]
            key = first_value(scope, b"idempotency-key")
            return self._submissions.answer_one(scope, receive, caller, None, key)
        if method == "GET" and path.startswith(_TASKS) and is_task_id(path[len(_TASKS) :]):
            seconds = _plain_wait(query)
            if seconds is not None:
                caller = scope["state"]["caller"]
                return answer_get(self._service, path[len(_TASKS) :], caller, None, seconds)
        return None


def _plain_wait(query: bytes) -> float | None:
    """Return how many seconds a query asks to wait; None unless the query is certainly valid."""
    if not query:
        return 0.0
    wait = _WAIT.fullmatch(query)
    seconds = None if wait is None else float(wait[1])
    return None if seconds is None or seconds > MAX_WAIT_SECONDS else seconds
