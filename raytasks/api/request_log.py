"""The log of requests, at DEBUG: one line for each request when its answer has been sent."""

import logging
import re
import secrets
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raytasks.api.headers import first_value
from raytasks.observe.log_record import with_fields

log = logging.getLogger(__name__)

_HEADER = b"x-request-id"
_NOTE = "request_log"
_GIVEN = re.compile(r"[!-~]{1,100}")


class RequestLog:
    """An ASGI wrapper around the whole API: it logs method, path, status, time and key's name.

    The answer gets the header `X-Request-ID`: that of the request, or a new one. The query is left
    out: links to files have their signature in it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_at = time.monotonic()
        request_id = _id_of(scope)
        note: dict[str, str] = {}
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                header = (_HEADER, request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            state = {**scope.get("state", {}), _NOTE: note}
            await self._app({**scope, "state": state}, receive, noted)
        finally:
            took = (time.monotonic() - began_at) * 1000
            method, path = scope["method"], scope["path"]
            fields = with_fields(
                method=method,
                path=path,
                status=status or None,
                ms=round(took, 3),
                key=note.get("caller"),
                request_id=request_id,
            )
            log.debug("%s %s %s", method, path, status or "was cut off", extra=fields)


class CallerNote:
    """An ASGI wrapper behind the gate: it tells the log of requests who calls."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the caller, and pass the request on."""
        if scope["type"] == "http":
            state = scope["state"]
            state[_NOTE]["caller"] = state["caller"].name
        await self._app(scope, receive, send)


def _id_of(scope: Scope) -> str:
    """Return the request's own id if it is a plain text, else a new one."""
    given = first_value(scope, _HEADER)
    return given if given is not None and _GIVEN.fullmatch(given) else secrets.token_hex(8)
