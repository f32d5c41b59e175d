"""The connections of the clients. They belong to the process that made them.

A forked child has copies of its parent's sockets. If both used them, one would read the answers to
the other's requests.
"""

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
                _refuse_transport()
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
    """The connections of an `AsyncClient`. They belong to a process as well."""

    def __init__(self, transport: httpx.AsyncBaseTransport | None, options: dict[str, Any]) -> None:
        self._transport = transport
        self._options = options
        self._closed = False
        self._held = (os.getpid(), self._made())

    def here(self) -> httpx.AsyncClient:
        """Return the httpx client of this process. Raises the errors of `HttpConnections.here`."""
        if self._closed:
            _refuse_closed()
        pid, http = self._held
        if pid != os.getpid():
            if self._transport is not None:
                _refuse_transport()
            http = self._made()
            self._held = (os.getpid(), http)
        return http

    async def close(self) -> None:
        """Close what belongs to this process, and allow no more requests."""
        self._closed = True
        pid, http = self._held
        if pid == os.getpid():
            await http.aclose()

    def _made(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=self._transport, **self._options)


def _refuse_closed() -> NoReturn:
    raise RuntimeError("the client is closed")


def _refuse_transport() -> NoReturn:
    raise RaytasksError(
        "this client was made in another process, with a transport of its own: make a new client "
        "in each process"
    )
