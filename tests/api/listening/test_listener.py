"""The listener of a replica: shared by several, bounded, locked by keys, and ended in order."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from raytasks.api.listening import bounded_http
from raytasks.api.listening.listener import Listener
from raytasks.api.listening.replica_listener import listener_of
from raytasks.api.listening.shared_port import SharedPort
from tests.keyring import bearer, locked
from tests.local_service import Api, LocalService, serving
from tests.ports import quiet_port

HOST = "127.0.0.1"
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

PROCESS = """
import asyncio, os, sys
from starlette.responses import PlainTextResponse
from raytasks.api.listening.listener import Listener
from raytasks.api.listening.shared_port import SharedPort
async def main():
    port = SharedPort("127.0.0.1", int(sys.argv[1]), "one")
    listener = Listener(
        PlainTextResponse(str(os.getpid())), port, max_requests=9, head_seconds=9
    )
    await listener.start()
    print("listens", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


class Held:
    """An app whose requests wait until they are let go, and tell when they have begun."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer when it is let go."""
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        await PlainTextResponse("done")(scope, receive, send)


@contextlib.asynccontextmanager
async def listening(app: ASGIApp, port: int = 0, **options: Any) -> AsyncIterator[Listener]:
    """Run a listener, and end it."""
    listener = Listener(
        app,
        SharedPort(HOST, port, "one"),
        **{"max_requests": 100, "head_seconds": 10, **options},
    )
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop(5)


async def exchange(port: int, *parts: bytes) -> bytes:
    """Send bytes on a connection of their own, and return all that comes until it is closed."""
    reader, writer = await asyncio.open_connection(HOST, port)
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


async def ask(port: int) -> str:
    """Return the answer to a request on a connection of its own."""
    answer = await exchange(port, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), answer
    return body.decode()


class TestSharing:
    async def test_several_on_one_port_all_get_connections(self) -> None:
        number = quiet_port()
        async with (
            listening(PlainTextResponse("one"), number),
            listening(PlainTextResponse("two"), number),
        ):
            assert {await ask(number) for _ in range(60)} == {"one", "two"}

    async def test_when_one_stops_the_other_gets_all(self) -> None:
        number = quiet_port()
        async with listening(PlainTextResponse("one"), number):
            async with listening(PlainTextResponse("two"), number):
                pass
            assert {await ask(number) for _ in range(20)} == {"one"}

    async def test_when_one_is_killed_the_other_gets_all(self) -> None:
        number = quiet_port()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, str(number), stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"listens\n"
        async with listening(PlainTextResponse("here"), number):
            assert {await ask(number) for _ in range(60)} == {"here", str(process.pid)}
            process.kill()
            await process.wait()
            assert {await ask(number) for _ in range(20)} == {"here"}


class TestBounds:
    async def test_headers_that_are_too_long_get_431(self) -> None:
        long = GET[:-2] + b"X-Long: " + b"x" * bounded_http.MAX_HEAD_BYTES
        async with listening(PlainTextResponse("ok")) as listener:
            for parts in ([long], [GET[:-2], long[len(GET) - 2 :]], [long + b"\r\n\r\n"]):
                answer = await exchange(listener.port, *parts)
                assert answer.startswith(b"HTTP/1.1 431 "), answer
                assert b"application/problem+json" in answer

    async def test_a_long_body_is_no_long_header(self) -> None:
        body = b"b" * (4 * bounded_http.MAX_HEAD_BYTES)
        posted = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        async with listening(PlainTextResponse("ok")) as listener:
            twice = [posted + body, posted + body + GET[:-2], b"Connection: close\r\n\r\n"]
            answer = await exchange(listener.port, *twice)
            assert answer.count(b"HTTP/1.1 200 ") == 3

    async def test_headers_that_are_too_slow_get_408(self) -> None:
        async with listening(PlainTextResponse("ok"), head_seconds=0.05) as listener:
            answer = await exchange(listener.port, GET[:-2])
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            answer = await exchange(listener.port, GET + GET[:-2])
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            assert b"okHTTP/1.1 408 " in answer

    async def test_a_connection_on_which_nothing_comes_is_closed(self) -> None:
        async with listening(PlainTextResponse("ok"), head_seconds=0.05) as listener:
            assert await exchange(listener.port) == b""

    async def test_too_many_connections_get_503(self) -> None:
        async with listening(PlainTextResponse("ok"), max_connections=2) as listener:
            opened = [await asyncio.open_connection(HOST, listener.port) for _ in range(2)]
            for reader, writer in opened:
                writer.write(GET)
                await reader.readuntil(b"ok")
            answer = await exchange(listener.port)
            assert answer.startswith(b"HTTP/1.1 503 "), answer
            assert b"\r\nretry-after: 1\r\n" in answer
            for _, writer in opened:
                writer.close()
                await writer.wait_closed()

    async def test_too_many_requests_get_503_and_none_later(self) -> None:
        held = Held()
        async with (
            listening(held, max_requests=1) as listener,
            httpx.AsyncClient(base_url=f"http://{HOST}:{listener.port}") as client,
        ):
            first = asyncio.ensure_future(client.get("/"))
            await held.begun.wait()
            refused = await client.get("/")
            assert refused.status_code == 503
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["retry-after"] == "1"
            held.go.set()
            assert (await first).text == (await client.get("/")).text == "done"

    async def test_a_request_ends_when_its_client_has_left(self) -> None:
        held = Held()
        async with listening(held) as listener:
            _, writer = await asyncio.open_connection(HOST, listener.port)
            writer.write(GET)
            await held.begun.wait()
            writer.close()
            await asyncio.wait_for(held.cancelled.wait(), 10)

    async def test_what_is_no_http_gets_400(self) -> None:
        async with listening(PlainTextResponse("ok")) as listener:
            assert (await exchange(listener.port, b"\x16\x03\x01\r\n\r\n")).startswith(
                b"HTTP/1.1 400 "
            )


class TestStop:
    async def test_open_requests_end_and_new_connections_are_refused(self) -> None:
        held = Held()
        async with (
            listening(held) as listener,
            httpx.AsyncClient(base_url=f"http://{HOST}:{listener.port}") as client,
        ):
            number = listener.port
            idle, idle_writer = await asyncio.open_connection(HOST, number)
            request = asyncio.ensure_future(client.get("/"))
            await held.begun.wait()
            stopping = asyncio.ensure_future(listener.stop(20))
            assert await idle.read() == b""
            idle_writer.close()
            with pytest.raises(ConnectionError):
                await asyncio.open_connection(HOST, number)
            assert not stopping.done()
            held.go.set()
            answer = await request
            assert (answer.text, answer.headers["connection"]) == ("done", "close")
            await stopping

    async def test_what_lasts_too_long_is_cut(self) -> None:
        held = Held()
        async with (
            listening(held) as listener,
            httpx.AsyncClient(base_url=f"http://{HOST}:{listener.port}") as client,
        ):
            request = asyncio.ensure_future(client.get("/"))
            await held.begun.wait()
            await listener.stop(0.01)
            with pytest.raises(httpx.HTTPError):
                await request
            await asyncio.wait_for(held.cancelled.wait(), 10)


@contextlib.asynccontextmanager
async def outside(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a service's app through a listener with the service's bounds."""
    service = api.service
    listener = listener_of(service.app, SharedPort(HOST, 0, "one"), service.settings)
    await listener.start()
    try:
        url = f"http://{HOST}:{listener.port}"
        async with httpx.AsyncClient(base_url=url, timeout=20) as client:
            yield client
    finally:
        await listener.stop(5)


class TestApi:
    """The API itself through a listener."""

    async def test_a_task_runs_and_its_events_arrive(self, sqlite_url: str, tmp_path: Path) -> None:
        service = LocalService(sqlite_url, tmp_path)
        async with serving(service, runner=True) as api, outside(api) as client:
            body = {"task_type": "scripted", "payload": {}}
            answer = await client.post("/tasks/", json=body)
            assert answer.status_code == 202
            assert "date" in answer.headers
            path = f"/tasks/{answer.json()['task_id']}"
            ended = await client.get(path, params={"wait": 20})
            assert ended.json()["state"] == "COMPLETED"
            events = await client.get(f"{path}/events")
            assert "event: end" in events.text
            assert (await client.get("/health")).json()["status"] in ("ok", "degraded")
            assert (await client.get("/livez")).status_code == 200

    async def test_without_keys_only_a_loopback_name_is_answered(
        self, sqlite_url: str, tmp_path: Path
    ) -> None:
        async with (
            serving(LocalService(sqlite_url, tmp_path), runner=False) as api,
            outside(api) as client,
        ):
            answer = await client.get("/tasks/", headers={"Host": "example.org"})
            assert answer.status_code == 403

    async def test_keys_are_asked_for(self, sqlite_url: str, tmp_path: Path) -> None:
        async with (
            locked(sqlite_url, tmp_path, debug=False) as api,
            outside(api) as client,
        ):
            assert (await client.get("/tasks/")).status_code == 401
            assert (await client.get("/tasks/", headers=bearer("a"))).status_code == 200
            assert (await client.get("/livez")).status_code == 200

    async def test_bounds_of_the_settings_hold(self, sqlite_url: str, tmp_path: Path) -> None:
        service = LocalService(sqlite_url, tmp_path, max_payload_bytes=500, body_seconds=0.2)
        async with serving(service, runner=False) as api, outside(api) as client:
            body = {"task_type": "scripted", "payload": {"text": "x" * 1000}}
            assert (await client.post("/tasks/", json=body)).status_code == 413
            many = {f"X-{number}": "1" for number in range(101)}
            assert (await client.get("/tasks/", headers=many)).status_code == 431
            port = client.base_url.port
            assert port is not None
            slow = b"POST /tasks/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
            slow += b"Content-Type: application/json\r\n\r\n"
            answer = await exchange(port, slow)
            assert answer.startswith(b"HTTP/1.1 408 "), answer
