"""The short way of a plain request through a replica: from Serve's HTTP server straight to the app.

On its own way, Serve makes two tasks and a queue for each request, to cancel it when its client
leaves. It also keeps metrics and a line of its log. That is a good part of a replica's time for a
plain submission, which needs none of it. What waits for a task is cancelled here.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from ray.serve._private import http_util
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from raytasks.api.listening.listener import RequestGate
from raytasks.api.plain_requests import plain_wait

log = logging.getLogger(__name__)

_SWITCH = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"

_app: tuple[ASGIApp, asyncio.AbstractEventLoop] | None = None
"""The app of this process, and the event loop to which it belongs."""


def open_short_way(app: ASGIApp, max_requests: int) -> bool:
    """Let plain requests to this replica go to its app at once, `max_requests` of them at a time.

    Call it on the app's event loop, before Serve starts the replica's HTTP server. It uses what
    Serve has for middlewares of its servers, in this process alone: other applications of the
    cluster go on as before. Returns False if the user has set that callback, or if this version of
    Serve lacks it. Then all requests go Serve's way.
    """
    global _app  # noqa: PLW0603 - a process has one replica
    if getattr(http_util, _SWITCH, _SWITCH) is not None:
        return False
    _app = RequestGate(app, max_requests), asyncio.get_running_loop()
    setattr(http_util, _SWITCH, f"{__name__}:middlewares")
    return True


def middlewares() -> list[Middleware]:
    """Return the middlewares for the HTTP server of this process; called by Serve."""
    return [Middleware(ShortWay)]


class ShortWay:
    """An ASGI wrapper around Serve's own app: it sends plain requests to ours."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, or pass it on to Serve."""
        seconds = None if _app is None else plain_wait(scope)
        if _app is None or seconds is None or asyncio.get_running_loop() is not _app[1]:
            await self._app(scope, receive, send)
            return
        watching = asyncio.ensure_future(_cancel_when_left(receive)) if seconds else None
        try:
            await _app[0](scope, receive, send)
        except Exception:
            log.exception("a request failed: %s %s", scope["method"], scope["path"])
            raise
        finally:
            if watching is not None:
                watching.cancel()


def _cancel_when_left(receive: Receive) -> Coroutine[Any, Any, None]:
    """Cancel the present task when its client leaves. Nobody else may receive: it has no body."""
    answering = asyncio.current_task()
    assert answering is not None

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        answering.cancel()

    return watch()
