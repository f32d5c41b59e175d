"""The gate for every request: it checks the host, the headers, the key and the body's time."""

from functools import lru_cache
from http import HTTPStatus

from starlette.types import ASGIApp, Receive, Scope, Send

from raytasks.api.auth import LOCAL, STRANGER, Caller, Keys, key_missing
from raytasks.api.headers import header_values
from raytasks.api.pages import FILES, PAGES
from raytasks.api.paths import inner_path
from raytasks.api.problems import Problem, problem_response
from raytasks.api.request_bounds import body_in_time, check_header_count
from raytasks.api.ui_pages import UI_FILES
from raytasks.artifacts.artifact_store import URL_PREFIX
from raytasks.settings import Settings, is_loopback

PUBLIC = frozenset({"/health", "/livez", "/readyz", "/openapi.json"}) | PAGES
"""The paths that answer without a key. A signed link opens a task's file without one, too."""


class AccessGate:
    """An ASGI wrapper that checks who may call, and notes the caller in `request.state.caller`.

    Without any key, and with `DEBUG`, only requests to a loopback name may pass. A page from
    elsewhere in a browser cannot send such a request. That holds even if its own name is made to
    lead to this machine (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._keys = Keys(settings.api_keys)
        self._local = settings.debug and not settings.api_keys
        self._body_seconds = settings.body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with the problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            check_header_count(len(scope["headers"]))
            caller = self._admit(scope)
        except Problem as problem:
            await problem_response(problem)(scope, receive, send)
            return
        scope = {**scope, "state": {**scope.get("state", {}), "caller": caller}}
        await self._app(scope, body_in_time(receive, self._body_seconds), send)

    def _admit(self, scope: Scope) -> Caller:
        if self._local:
            _check_host(header_values(scope, b"host"))
            return LOCAL
        caller = self._keys.caller(header_values(scope, b"authorization"))
        if caller is STRANGER and not is_public(inner_path(scope)):
            raise key_missing()
        return caller


def is_public(path: str) -> bool:
    """Return whether a path may answer without a key."""
    return path in PUBLIC or path.startswith((f"{URL_PREFIX}/", FILES, UI_FILES))


def _check_host(hosts: list[str]) -> None:
    """Refuse a request whose host is not a loopback name. The port does not matter."""
    if len(hosts) == 1 and _is_here(hosts[0]):
        return
    raise Problem(
        HTTPStatus.FORBIDDEN,
        "without RAYTASKS_API_KEYS only requests for localhost, 127.0.0.1 or [::1] are answered; "
        "make a key with 'raytasks keys new', or use one of these names",
    )


@lru_cache(maxsize=64)  # most requests are for the same host, and parsing an address takes time
def _is_here(host: str) -> bool:
    return is_loopback(_without_port(host))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and not host.endswith("]") else host
