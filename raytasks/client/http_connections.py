"""The connections of the clients. They belong to the process that made them.

A forked child has copies of its parent's sockets. If both used them, one would read the answers to
the other's requests.
"""

import asyncio
import os
from typing import Any, NoReturn

import httpx

from raytasks.model.tasks import RaytasksError


class HttpConnections:
    """The connections of a `Client`. A forked process gets some of its own.

    The parent's are left alone there: its sockets are neither used nor shut down. A transport that
    the user gave cannot be made again, so it stays with the process that it was given in.
    """

    def __init__(self, transport: httpx.BaseTransport | None, options: dict[str, Any]) -> None:
        self._transport = transport
        self._options = options
        self._closed = False
        self._held = (os.getpid(), self._made())

    @property
    def forked(self) -> bool:
        """Whether this process is a fork of the one that made the connections."""
        return self._held[0] != os.getpid()

    def here(self) -> httpx.Client:
        """Return the httpx client of this process.

        Raises `RuntimeError` after `close`, and `RaytasksError` if the transport is another
        process's.
        """
        if self._closed:
            _refuse_closed()
        pid, http = self._held
        if pid != os.getpid():
            if self._transport is not None:
                _refuse_transport("in another process", "process")
            http = self._made()
            self._held = (os.getpid(), http)
        return http

    def close(self) -> None:
        """Close what belongs to this process, and allow no more requests."""
        self._closed = True
        if not self.forked:
            self._held[1].close()

    def _made(self) -> httpx.Client:
        return httpx.Client(transport=self._transport, **self._options)


class AsyncHttpConnections:
    """The connections of an `AsyncClient`. They belong to a process, and to an event loop in it.

    So a client may be used by several calls of `asyncio.run`, and by threads with loops of their
    own.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None, options: dict[str, Any]) -> None:
        self._transport = transport
        self._options = options
        self._closed = False
        self._pid = os.getpid()
        self._by_loop: dict[asyncio.AbstractEventLoop, httpx.AsyncClient] = {}

    def here(self) -> httpx.AsyncClient:
        """Return the httpx client of the running event loop.

        Raises `RuntimeError` after `close`. Raises `RaytasksError` if the transport is another
        process's, or holds connections of another loop.
        """
        if self._closed:
            _refuse_closed()
        if self._pid != os.getpid():
            if self._transport is not None:
                _refuse_transport("in another process", "process")
            self._pid, self._by_loop = os.getpid(), {}
        loop = asyncio.get_running_loop()
        http = self._by_loop.get(loop)
        if http is None:
            if self._by_loop and isinstance(self._transport, httpx.AsyncHTTPTransport):
                _refuse_transport("for another event loop", "loop")
            http = httpx.AsyncClient(transport=self._transport, **self._options)
            # No other thread may see the dictionary change. A loop that was closed is gone.
            known = self._by_loop.items()
            alive = {other: held for other, held in known if not other.is_closed()}
            self._by_loop = {**alive, loop: http}
        return http

    async def close(self) -> None:
        """Close what belongs to the running loop, and allow no more requests on any loop.

        Other connections end with their loops.
        """
        self._closed = True
        http = self._by_loop.get(asyncio.get_running_loop())
        if http is not None and self._pid == os.getpid():
            await http.aclose()


def _refuse_closed() -> NoReturn:
    raise RuntimeError("the client is closed")


def _refuse_transport(made: str, scope: str) -> NoReturn:
    raise RaytasksError(
        f"this client was made {made}, with a transport of its own: make a new client in each "
        f"{scope}"
    )
