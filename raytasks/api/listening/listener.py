"""A listener for HTTP within a replica: it serves the app without Serve's ingress."""

import asyncio
import resource
import time
from email.utils import formatdate
from http import HTTPStatus

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from raytasks.api.listening.bounded_http import BoundedHttp, Connections
from raytasks.api.listening.shared_port import SharedPort
from raytasks.api.problems import RETRY_AFTER_SECONDS, Problem, problem_response

KEEP_ALIVE_SECONDS = 90
"""How long a connection may be idle, in seconds: as long as with Serve.

It is longer than a balancer keeps one, so that none sends a request to a closed connection.
"""

MAX_CONNECTIONS = 4096
"""Maximum number of connections of a replica; HAProxy has the same in front of Serve."""

BACKLOG = 2048
_DATE_SECONDS = 1.0


class Listener:
    """Serves an app on a shared port until `stop`.

    `max_requests` is how many requests may be answered at a time. `head_seconds` is how long the
    headers of one may take.
    """

    def __init__(
        self,
        app: ASGIApp,
        port: SharedPort,
        *,
        max_requests: int,
        head_seconds: float,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._port = port
        self._config = uvicorn.Config(
            RequestGate(app, max_requests),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._config.load()
        self._state = ServerState()
        self._shared = Connections(
            most=min(max_connections, _connections_for(_open_files())),
            head_seconds=head_seconds,
            gone=self._on_gone,
        )
        self._empty = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._dating: asyncio.TimerHandle | None = None

    @property
    def port(self) -> int:
        """The port's number."""
        return self._port.port

    async def start(self) -> None:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._tell_date(loop)
        self._server = await loop.create_server(
            lambda: BoundedHttp(self._config, self._state, loop, self._shared),
            sock=self._port.socket,
            backlog=BACKLOG,
        )

    async def stop(self, seconds: float) -> None:
        """Take no more connections, and wait for the open requests; then cut the rest.

        New connections go to the other replicas at once. Idle ones are closed.
        """
        if self._server is not None:
            self._server.close()
        self._port.close()
        self._shared.stopping = True
        for connection in list(self._state.connections):
            connection.shutdown()
        self._on_gone()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            for connection in list(self._state.connections):
                connection.transport.abort()
            await self._empty.wait()
        finally:
            if self._dating is not None:
                self._dating.cancel()

    def _on_gone(self) -> None:
        if self._shared.stopping and not self._state.connections:
            self._empty.set()

    def _tell_date(self, loop: asyncio.AbstractEventLoop) -> None:
        """Renew the header `Date`, which all answers have."""
        date = formatdate(time.time(), usegmt=True).encode()
        self._state.default_headers = [(b"date", date)]
        self._dating = loop.call_later(_DATE_SECONDS, self._tell_date, loop)


class RequestGate:
    """An ASGI wrapper that answers so many requests at a time; the others get a 503.

    A request is cancelled when its client has left. That is no error.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer with the problem."""
        if self._open >= self._most:
            await problem_response(_too_many(self._most))(scope, receive, send)
            return
        self._open += 1
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            pass
        finally:
            self._open -= 1


def _too_many(most: int) -> Problem:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"this replica answers {most} requests already; try again soon",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _open_files() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS * 4 if soft == resource.RLIM_INFINITY else soft


def _connections_for(open_files: int) -> int:
    """Return how many connections a process may have, so that other files can still be opened."""
    return max(1, open_files // 2)
