"""Clients on answers that the test writes, sync and async alike."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from raytasks.client import AsyncClient, Client, api, asynchronous, sync
from raytasks.client import event_stream as events

Answer = httpx.Response | Exception
PROBLEM = {"content-type": "application/problem+json"}
HTML = httpx.Response(404, html="<h1>no such path</h1>")
REFUSED = httpx.ConnectError("refused")


class Wire:
    """Answers requests with what the test has lined up; the last answer is given again."""

    def __init__(self, *answers: Answer, **options: Any) -> None:
        self.answers: Sequence[Answer] = answers
        self.requests: list[httpx.Request] = []
        self._options = options
        self.client = Client("http://host:1/", transport=self.transport, **options)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers[min(len(self.requests), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer.stream, Stream):
            return httpx.Response(answer.status_code, headers=answer.headers, stream=answer.stream)
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def do(self, call: Callable[[Any], Any]) -> Any:
        """Do what a call says with the client; return its result, or the list of what it yields."""
        result = call(self.client)
        return list(result) if isinstance(result, Iterator) else result


class AsyncWire(Wire):
    """The same with the asynchronous client."""

    def do(self, call: Callable[[Any], Any]) -> Any:
        async def run() -> Any:
            async with AsyncClient(
                "http://host:1/", transport=self.transport, **self._options
            ) as client:
                result = call(client)
                if isinstance(result, AsyncGenerator):
                    async with aclosing(result) as items:
                        return [item async for item in items]
                return await result

        return asyncio.run(run())


class Clock:
    """The monotonic clock of the clients: pauses alone move it, and are noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []
        for module in (api, events):
            monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=self))
        monkeypatch.setattr(sync, "time", SimpleNamespace(sleep=self.sleep))
        monkeypatch.setattr(asynchronous, "asyncio", SimpleNamespace(sleep=self.sleep_async))

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that comes in pieces, and then ends or breaks."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self._pieces = pieces
        self._error = error
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._error:
            raise self._error

    async def __aiter__(self) -> AsyncGenerator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


def ok(**document: Any) -> httpx.Response:
    return httpx.Response(200, json=document)


def problem(status: int, headers: dict[str, str] | None = None, **document: Any) -> httpx.Response:
    document = {"type": "about:blank", "title": "Title", "status": status} | document
    return httpx.Response(status, json=document, headers={**PROBLEM, **(headers or {})})


def sse(event: str, data: Any, event_id: str = "") -> bytes:
    """Return an event as it is on the wire."""
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def stream(*pieces: bytes, error: Exception | None = None) -> httpx.Response:
    """Return an answer with events."""
    return httpx.Response(
        200, headers={"content-type": "text/event-stream"}, stream=Stream(*pieces, error=error)
    )
