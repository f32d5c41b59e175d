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

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods that change nothing."""

_OWN_SITES = frozenset({"same-origin", "none"})
"""The values of `Sec-Fetch-Site` for requests of this service's own page, or of the user."""


class AccessGate:
    """An ASGI wrapper that checks who may call, and notes the caller in `request.state.caller`.

    Without any key, and with `DEBUG`, only requests to a loopback name may pass. So a web page
    whose own name is made to lead to this machine (DNS rebinding) is refused. Any page can send a
    request to a loopback name, but cannot read the answer. The browser says in `Origin` and
    `Sec-Fetch-Site` where such a request comes from. One that could change something is refused if
    it comes from another origin.
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
            host = _check_host(header_values(scope, b"host"))
            if scope["method"] not in _READING:
                _check_origin(scope, host)
            return LOCAL
        caller = self._keys.caller(header_values(scope, b"authorization"))
        if caller is STRANGER and not is_public(inner_path(scope)):
            raise key_missing()
        return caller


def is_public(path: str) -> bool:
    """Return whether a path may answer without a key."""
    return path in PUBLIC or path.startswith((f"{URL_PREFIX}/", FILES, UI_FILES))


def _check_host(hosts: list[str]) -> str:
    """Return the host. Refuse one that is not a loopback name. The port does not matter."""
    if len(hosts) == 1 and _is_here(hosts[0]):
        return hosts[0]
    raise Problem(
        HTTPStatus.FORBIDDEN,
        "without RAYTASKS_API_KEYS only requests for localhost, 127.0.0.1 or [::1] are answered; "
        "make a key with 'raytasks keys new', or use one of these names",
    )


def _check_origin(scope: Scope, host: str) -> None:
    """Refuse a request that a browser sends for a page of another origin.

    Curl and clients send neither header. The scheme does not matter: it may end at a proxy.
    """
    for origin in header_values(scope, b"origin"):
        if origin.partition("://")[2].lower() != host.lower():
            raise _from_elsewhere("Origin", origin)
    for site in header_values(scope, b"sec-fetch-site"):
        if site not in _OWN_SITES:
            raise _from_elsewhere("Sec-Fetch-Site", site)


def _from_elsewhere(name: str, value: str) -> Problem:
    return Problem(
        HTTPStatus.FORBIDDEN,
        "without RAYTASKS_API_KEYS no web page of another origin may change anything, and this "
        f"request has the header {name}: {value[:100]}; use the service's own page, send the "
        "request without this header, or make a key with 'raytasks keys new'",
    )


@lru_cache(maxsize=64)  # most requests are for the same host, and parsing an address takes time
def _is_here(host: str) -> bool:
    return is_loopback(_without_port(host))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and not host.endswith("]") else host
