"""HTTP for clients that nobody vouches for: bounds that HAProxy sets in front of Serve."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from raytasks.api.problems import CONTENT_TYPE, RETRY_AFTER_SECONDS

log = logging.getLogger(__name__)
log.setLevel(logging.ERROR)  # a bad request of a stranger is no news

MAX_HEAD_BYTES = 16 * 1024
"""Maximum size of a request's line and headers, in bytes; HAProxy has the same."""

_PHRASES = {
    408: ("Request Timeout", "the headers have not come in time (RAYTASKS_BODY_SECONDS)"),
    431: ("Request Header Fields Too Large", f"the maximum is {MAX_HEAD_BYTES} bytes"),
    503: ("Service Unavailable", "too many connections are open; try again soon"),
}


@dataclass
class Connections:
    """The state that all connections of a listener share.

    - `most`: how many may be open at a time.
    - `head_seconds`: how long a request's headers may take, in seconds.
    - `stopping`: whether each connection ends with its present answer.
    - `gone`: is called when a connection has ended.
    """

    most: int
    head_seconds: float
    gone: Callable[[], None]
    stopping: bool = False


class BoundedHttp(HttpToolsProtocol):
    """A connection. It ends when headers are too long or too slow, and cancels what nobody awaits.

    The bound of the headers is exact for the first request of a read, and holds within one read
    for others.
    """

    def __init__(
        self,
        config: Config,
        state: ServerState,
        loop: asyncio.AbstractEventLoop,
        shared: Connections,
    ) -> None:
        super().__init__(config, state, {}, loop)
        self.logger = log
        self.access_log = False
        self._shared = shared
        self._head: int | None = 0  # bytes of the next headers so far; None within a body
        self._begun = False  # whether the first byte of these headers is there
        self._ended = False  # whether a request has ended within the present read
        self._timer: asyncio.TimerHandle | None = None
        self._answering: tuple[Any, asyncio.Task[None]] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`, as the others."""
        super().connection_made(transport)
        if len(self.connections) > self._shared.most:
            self._refuse(503)
            return
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget_timer()
        self._unset_keepalive_if_required()
        if self._answering is not None:
            cycle, task = self._answering
            if not cycle.response_complete:
                task.cancel()  # as Serve does: `?wait=` would hold its place
        self._shared.gone()

    def data_received(self, data: bytes) -> None:
        self._ended = False
        if self._head is not None and self._head + len(data) > MAX_HEAD_BYTES:
            fits = max(0, MAX_HEAD_BYTES - self._head)
            super().data_received(data[:fits])
            if self.transport.is_closing():
                return
            if self._begun and not self._ended:
                self._refuse(431)
                return
            data = data[fits:]
        super().data_received(data)
        if not self.transport.is_closing():
            self._look_at_head(len(data))

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun = True

    def on_headers_complete(self) -> None:
        self._head, self._begun = None, False
        super().on_headers_complete()
        if self._shared.stopping and self.cycle is not None:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head, self._ended = 0, True

    def _look_at_head(self, read: int) -> None:
        """Count the bytes of headers that are under way, and see that they come in time."""
        if self._begun and not self._ended and self._head is not None:
            self._head += read
        if self._begun or not self._is_answering:
            if self._timer is None:
                self._watch_head()
        else:
            self._forget_timer()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)
        self._answering = cycle, task

    def _watch_head(self) -> None:
        self._timer = self.loop.call_later(self._shared.head_seconds, self._too_slow)

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._begun:
            self._refuse(408)
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: int) -> None:
        """Answer with a problem, and close the connection."""
        if self.transport.is_closing():
            return
        if self._is_answering:
            self.transport.close()
            return
        phrase, detail = _PHRASES[status]
        body = (
            f'{{"type":"about:blank","title":"{phrase}","status":{status},"detail":"{detail}"}}'
        ).encode()
        again = f"retry-after: {RETRY_AFTER_SECONDS}\r\n" if status == 503 else ""
        head = (
            f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {CONTENT_TYPE}\r\n"
            f"content-length: {len(body)}\r\n{again}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
