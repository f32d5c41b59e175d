"""The fast path to the two busiest endpoints: it skips the framework's own work."""

from collections.abc import Coroutine
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from raytasks.api.auth import Caller
from raytasks.api.headers import first_value
from raytasks.api.one_write import in_one_write
from raytasks.api.plain_requests import TASKS, plain_wait
from raytasks.api.problems import HANDLED, problem_of, problem_response
from raytasks.api.route_service import Service
from raytasks.api.routes import answer_get
from raytasks.api.submissions import Submissions


class FastPath:
    """An ASGI wrapper that answers plain requests of `POST /tasks/` and `GET /tasks/{task_id}`.

    The framework matches routes, reads query and headers into models, and resolves the endpoint's
    dependencies. That costs more than the endpoint. For a plain request, this calls the function
    behind the endpoint at once. All other requests go to the app, which would give the same answer;
    so do queries that could be wrong.
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
        with in_one_write(send):
            await response(scope, receive, send)

    def _answering(self, scope: Scope, receive: Receive) -> Coroutine[Any, Any, Response] | None:
        seconds = plain_wait(scope)
        if seconds is None:
            return None
        caller: Caller = scope["state"]["caller"]
        if scope["method"] == "POST":
            key = first_value(scope, b"idempotency-key")
            return self._submissions.answer_one(scope, receive, caller, None, key)
        task_id = scope["path"][len(TASKS) :]
        return answer_get(self._service, task_id, caller, None, seconds)
