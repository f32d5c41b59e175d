"""A client of event streams, which calls the app in this process and reads as it is told to."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.types import ASGIApp, Message

PATIENCE = 20.0


@dataclass(frozen=True)
class Sse:
    """One event."""

    event: str
    data: Any
    id: str | None = None


def parse(text: str) -> Iterator[Sse]:
    """Give the events of whole blocks of a stream; blocks without data are none."""
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and line[0] != ":")
        if "data" in fields:
            yield Sse(fields.get("event", "message"), json.loads(fields["data"]), fields.get("id"))


class EventClient:
    """One request. Use it as an async context manager; leaving it hangs up."""

    def __init__(
        self, app: ASGIApp, path: str, last: str | None = None, *, accept: str = "*/*", **query: str
    ) -> None:
        self._app = app
        headers = [(b"host", b"localhost"), (b"accept", accept.encode())]
        if last is not None:
            headers.append((b"last-event-id", last.encode()))
        self._scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
            "state": {},
        }
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.over = False
        self.complete = False
        self.reads = asyncio.Event()
        self.reads.set()
        self._left = asyncio.Event()
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "EventClient":
        self._task = asyncio.ensure_future(self._app(self._scope, self._receive, self._send))
        self._task.add_done_callback(self._ended)
        await self.until(lambda: self.status)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hang_up()

    async def hang_up(self) -> None:
        """Leave, and wait until the app is done with it."""
        self._left.set()
        if self._task is not None:
            async with asyncio.timeout(PATIENCE):
                await self._task

    @property
    def events(self) -> list[Sse]:
        """The events that have come so far."""
        return list(parse(self.body.decode().rpartition("\n\n")[0]))

    @property
    def ids(self) -> list[str]:
        """The ids of the events that have one."""
        return [event.id for event in self.events if event.id is not None]

    def of(self, kind: str) -> list[Any]:
        """Return the data of the events of a kind that have come so far."""
        return [event.data for event in self.events if event.event == kind]

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so; it is looked at whenever something has come."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                assert not self.over, (self.status, self.body[-500:])
                self._news.clear()
                await self._news.wait()

    async def to_the_end(self) -> list[Sse]:
        """Wait for the end of the stream, and return all events."""
        await self.until(lambda: self.over)
        return self.events

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.over = True
        self._news.set()

    async def _receive(self) -> Message:
        if self._left.is_set() or self.over:
            return {"type": "http.disconnect"}
        if not hasattr(self, "_asked"):
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        if message["type"] == "http.response.start":
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self.status = message["status"]
        else:
            self.body += message["body"]
            self.complete = not message.get("more_body", False)
        self._news.set()
