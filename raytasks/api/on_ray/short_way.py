"""The short way of a plain request through a replica: from Serve's HTTP server straight to the app.

On its own way, Serve makes two tasks and a queue for each request, to cancel it when its client
leaves. It also keeps metrics and a line of its log. That is a good part of a replica's time for a
plain submission, which needs none of it. What waits for a task is cancelled here.
"""

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from ray.serve._private import http_util
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from raytasks.api.plain_requests import plain_wait
from raytasks.api.request_bounds import client_left

log = logging.getLogger(__name__)

_SWITCH = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"


@dataclass(frozen=True)
class _Ours:
    """The app of this process, the event loop to which it belongs, and places for requests."""

    app: ASGIApp
    loop: asyncio.AbstractEventLoop
    places: asyncio.Semaphore


_ours: _Ours | None = None


def open_short_way(app: ASGIApp, max_requests: int) -> bool:
    """Let plain requests to this replica go to its app at once, `max_requests` of them at a time.

    The others wait for their turn, as with Serve.

    Call it on the app's event loop, before Serve starts the replica's HTTP server. It uses what
    Serve has for middlewares of its servers, in this process alone: other applications of the
    cluster go on as before. Returns False if the user has set that callback, or if this version of
    Serve lacks it. Then all requests go Serve's way.
    """
    global _ours  # noqa: PLW0603 - a process has one replica
    callback = f"{__name__}:middlewares"
    if getattr(http_util, _SWITCH, "missing") not in (None, "", callback):
        return False
    _ours = _Ours(app, asyncio.get_running_loop(), asyncio.Semaphore(max_requests))
    setattr(http_util, _SWITCH, callback)
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
        ours = _ours
        seconds = None if ours is None else plain_wait(scope)
        if ours is None or seconds is None or asyncio.get_running_loop() is not ours.loop:
            await self._app(scope, receive, send)
            return
        watching = asyncio.ensure_future(_cancel_when_left(receive)) if seconds else None
        try:
            async with ours.places:
                await ours.app(scope, receive, send)
        except asyncio.CancelledError:
            pass  # its client has left
        except Exception:  # without an answer, the server gives a 500
            log.exception("a request failed: %s %s", scope["method"], scope["path"])
        finally:
            if watching is not None:
                watching.cancel()


def _cancel_when_left(receive: Receive) -> Coroutine[Any, Any, None]:
    """Cancel the present task when its client leaves. Nobody else may receive: it has no body."""
    answering = asyncio.current_task()
    assert answering is not None

    async def watch() -> None:
        await client_left(receive)
        answering.cancel()

    return watch()
