"""The clients over real sockets: streams that are cut, a service that restarts, many at once."""

import asyncio
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from raytasks.client import AsyncClient, Client, EndEvent, StateEvent, api

LAST = 40


def event(number: int) -> bytes:
    data = json.dumps({"task_id": "id", "state": "RUNNING", "revision": number})
    return f"id: {number}.0\nevent: state\ndata: {data}\n\n".encode()


class Handler(BaseHTTPRequestHandler):
    """Sends events in chunks, and breaks the connection within every seventh one."""

    protocol_version = "HTTP/1.1"
    cuts: ClassVar[list[str]] = []

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self._chunk(b"retry: 1\n\n: \n\n")
        after = int((self.headers.get("Last-Event-ID") or "0.0").split(".")[0])
        for number in range(after + 1, LAST + 1):
            whole = event(number)
            if number % 7 == 0 and number != after + 1:
                self._chunk(whole[: number * 2])
                self.cuts.append(self.headers.get("Last-Event-ID") or "")
                self.close_connection = True
                return  # no last chunk: the peer sees a broken body
            self._chunk(whole)
        self._chunk(b'event: end\ndata: {"task_id": "id", "state": "COMPLETED"}\n\n')
        self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server that breaks its streams."""
    monkeypatch.setattr(Handler, "cuts", [])
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def numbers(found: list[Any]) -> list[int]:
    assert isinstance(found[-1], EndEvent)
    return [item.data["revision"] for item in found if isinstance(item, StateEvent)]


def test_every_event_once_over_broken_connections(url: str) -> None:
    with Client(url) as client:
        assert numbers(list(client.events("id"))) == list(range(1, LAST + 1))
    assert len(Handler.cuts) == LAST // 7


async def test_many_at_once(url: str) -> None:
    async with AsyncClient(url) as client:

        async def follow() -> list[int]:
            return numbers([event async for event in client.events("id")])

        found = await asyncio.gather(*(follow() for _ in range(120)))
    assert found == [list(range(1, LAST + 1))] * 120


def test_a_silent_stream_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first connection begins and says nothing any more, as that of a frozen replica does."""
    monkeypatch.setattr(api, "SILENCE_SECONDS", 0.1)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1\n\n"
    end = b'event: end\ndata: {"task_id": "id", "state": "COMPLETED"}\n\n'
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as peers:

        def serve() -> None:
            for answer in (head + event(1), head + end):
                peer = peers.enter_context(listener.accept()[0])
                asked.append(peer.recv(4096))
                peer.sendall(answer)

        asked: list[bytes] = []
        thread = threading.Thread(target=serve)
        thread.start()
        with Client(f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            found = list(client.events("id"))
        thread.join(10)
    assert numbers(found) == [1]
    assert [b"Last-Event-ID: 1.0" in request for request in asked] == [False, True]
