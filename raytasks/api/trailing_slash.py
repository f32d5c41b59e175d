"""Paths with and without the trailing slash are the same, without a redirect."""

from starlette.types import ASGIApp, Receive, Scope, Send

from raytasks.api.paths import inner_path

_WITH_SLASH = ("/", "/tasks/")


class TrailingSlash:
    """An ASGI wrapper that gives every path the form in which its route is written."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under the written form of its path."""
        if scope["type"] == "http":
            path, inner = scope["path"], inner_path(scope)
            if f"{inner}/" in _WITH_SLASH:
                scope = {**scope, "path": f"{path}/"}
            elif path.endswith("/") and path[-2:] != "//" and inner not in _WITH_SLASH:
                scope = {**scope, "path": path[:-1]}
        await self._app(scope, receive, send)
