"""A response that is a stream of server-sent events; it lasts as long as its client listens."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from raytasks.api.problems import problem_of, problem_response
from raytasks.api.request_bounds import client_left

log = logging.getLogger(__name__)

SLOW_SECONDS = 30.0
"""How long a client may leave sent data unread, in seconds."""

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


class EventStream(Response):
    """Sends chunks as they come.

    An error before the first chunk is answered with its problem. A later error just ends the
    answer, and the client reconnects. A client that does not read is dropped. When a client leaves
    or is dropped, the chunks' generator is closed at once.
    """

    media_type = "text/event-stream"

    def __init__(self, chunks: AsyncIterator[bytes], status_code: int = 200) -> None:
        self.status_code = status_code
        self.background = None
        self.init_headers(HEADERS)
        self._chunks = cast("AsyncGenerator[bytes, None]", chunks)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        async with contextlib.aclosing(self._chunks) as chunks:
            try:
                first = await anext(chunks)
            except Exception as error:
                await problem_response(problem_of(error))(scope, receive, send)
                return
            sending = asyncio.ensure_future(self._send(first, chunks, send))
            leaving = asyncio.ensure_future(client_left(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (sending, leaving):
                    task.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)

    async def _send(self, first: bytes, chunks: AsyncIterator[bytes], send: Send) -> None:
        head = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(head)
        try:
            await _send_in_time(send, first)
            try:
                async for chunk in chunks:
                    await _send_in_time(send, chunk)
            except _TooSlow:
                raise
            except Exception as error:
                log.info("a stream of events ends: %s: %s", type(error).__name__, error)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except _TooSlow:
            log.info("a client that does not read its events is dropped")


class _TooSlow(Exception):
    """The client does not read."""


async def _send_in_time(send: Send, chunk: bytes) -> None:
    try:
        async with asyncio.timeout(SLOW_SECONDS):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    except TimeoutError:
        raise _TooSlow from None
