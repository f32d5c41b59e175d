"""To whom the connections of a client belong: to a process, and to an event loop in it."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

HEAD = """
import asyncio, os, sys
import httpx
from raytasks import RaytasksError
from raytasks.client import AsyncClient, Client
url = sys.argv[1]
def forked(work):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            sys.stdout.flush()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


class Handler(BaseHTTPRequestHandler):
    """Records the connection of each request, and answers with the task that was asked for.

    The first stream of events goes on only when a second one has begun.
    """

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, int]]] = []
    second: ClassVar[threading.Event]

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.split("/")[2]
        self.seen.append((name, self.client_address[1]))
        if self.path.endswith("/events"):
            self._stream(self.headers["Last-Event-ID"])
            return
        body = json.dumps({"task_id": name}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, after: str | None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        if after is None:
            self.wfile.write(b'id: 1.0\nevent: state\ndata: {"state": "RUNNING"}\n\n')
            self.seen.append(("second came", self.second.wait(10)))
        else:
            self.second.set()
        self.wfile.write(b'id: 2.0\nevent: state\ndata: {"state": "COMPLETED"}\n\n')
        self.wfile.write(b'event: end\ndata: {"state": "COMPLETED"}\n\n')


class Server(ThreadingHTTPServer):
    daemon_threads = True


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a server that records who asks."""
    monkeypatch.setattr(Handler, "seen", [])
    monkeypatch.setattr(Handler, "second", threading.Event(), raising=False)
    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def run(script: str, url: str) -> str:
    """Run a script in a process without other threads, which may fork; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script, url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CLIENT = """
client = Client(url)
def child():
    print(client.get("child")["task_id"], client.get("child-again")["task_id"])
    client.close()
print(client.get("parent")["task_id"])
forked(child)
print(client.get("parent-again")["task_id"])
"""

ASYNC_CLIENT = """
client = AsyncClient(url)
async def first():
    print((await client.get("parent"))["task_id"])
async def second():
    print((await client.get("parent-again"))["task_id"])
async def in_child():
    print((await client.get("child"))["task_id"], (await client.get("child-again"))["task_id"])
    await client.close()
def child():
    loop.run_until_complete(in_child())
loop = asyncio.new_event_loop()
loop.run_until_complete(first())
forked(child)
loop.run_until_complete(second())
"""


@pytest.mark.parametrize("script", [CLIENT, ASYNC_CLIENT], ids=["plain", "async"])
def test_a_forked_process_has_connections_of_its_own(script: str, url: str) -> None:
    assert run(script, url).split() == ["parent", "child", "child-again", "parent-again"]
    peers = dict(Handler.seen)
    assert peers["parent"] == peers["parent-again"]  # the child has not closed it
    assert peers["child"] == peers["child-again"]
    assert peers["parent"] != peers["child"]


def test_a_forked_process_goes_on_with_a_stream_by_a_connection_of_its_own(url: str) -> None:
    script = """
stream = Client(url).events("stream")
def rest(who):
    print(who, [getattr(event, "id", "end") for event in stream])
print(next(stream).id)
forked(lambda: rest("child"))
rest("parent")
"""
    assert run(script, url).splitlines() == [
        "1.0",
        "child ['2.0', 'end']",
        "parent ['2.0', 'end']",
    ]
    assert ("second came", True) in Handler.seen


def test_a_transport_stays_in_its_process(url: str) -> None:
    script = """
client = Client(url, transport=httpx.HTTPTransport())
def child():
    try:
        client.get("child")
    except RaytasksError as error:
        print(error)
client.get("parent")
forked(child)
print(client.get("parent-again")["task_id"])
"""
    refusal, again = run(script, url).splitlines()
    assert refusal == (
        "this client was made in another process, with a transport of its own: make a new client "
        "in each process"
    )
    assert again == "parent-again"
    assert len({peer for _, peer in Handler.seen}) == 1


def test_a_closed_client_is_closed_in_a_child(url: str) -> None:
    script = """
client = Client(url)
client.close()
def child():
    try:
        client.get("child")
    except RuntimeError as error:
        print(error)
forked(child)
"""
    assert run(script, url) == "the client is closed\n"


def test_each_event_loop_has_connections_of_its_own(url: str) -> None:
    script = """
client = AsyncClient(url)
for name in ("first", "second", "third"):
    print(asyncio.run(client.get(name))["task_id"])
async def closed():
    await client.close()
    await client.get("never")
try:
    asyncio.run(closed())
except RuntimeError as error:
    print(error)
"""
    assert run(script, url).splitlines() == ["first", "second", "third", "the client is closed"]
    assert len({peer for _, peer in Handler.seen}) == 3


def test_loops_that_take_turns_keep_their_connections(url: str) -> None:
    script = """
client = AsyncClient(url)
one, two = asyncio.new_event_loop(), asyncio.new_event_loop()
for name in ("a", "b"):
    for loop in (one, two):
        loop.run_until_complete(client.get(name))
for loop in (one, two):
    loop.run_until_complete(client.close())
    loop.close()
"""
    run(script, url)
    [a, also_a, b, also_b] = [peer for _, peer in Handler.seen]
    assert (a, also_a) == (b, also_b)
    assert a != also_a


def test_a_transport_with_connections_stays_with_its_loop(url: str) -> None:
    script = """
client = AsyncClient(url, transport=httpx.AsyncHTTPTransport())
asyncio.run(client.get("first"))
for _ in range(2):
    try:
        asyncio.run(client.get("second"))
    except RaytasksError as error:
        print(error)
"""
    refusal = (
        "this client was made for another event loop, with a transport of its own: make a new "
        "client in each loop"
    )
    assert run(script, url).splitlines() == [refusal] * 2


def test_a_transport_without_connections_goes_with_any_loop(url: str) -> None:
    script = """
answer = httpx.Response(200, json={"task_id": "mine"})
client = AsyncClient(url, transport=httpx.MockTransport(lambda _: answer))
for _ in range(2):
    print(asyncio.run(client.get("any"))["task_id"])
"""
    assert run(script, url).splitlines() == ["mine", "mine"]


def test_a_stream_goes_on_with_the_loop_that_began_it(url: str) -> None:
    Handler.second.set()
    script = """
client = AsyncClient(url)
async def follow():
    return [type(event).__name__ async for event in client.events("stream")]
print(asyncio.run(follow()))
print(asyncio.run(follow()))
"""
    assert run(script, url).splitlines() == ["['StateEvent', 'StateEvent', 'EndEvent']"] * 2
