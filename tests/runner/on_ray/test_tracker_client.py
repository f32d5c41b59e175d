"""The ways to the tracker: its socket where it is on this node, its actor everywhere else."""

import asyncio
import importlib
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from raytasks.protocol import codec as wire
from raytasks.protocol import local_socket as local_rpc
from raytasks.protocol.local_socket import ConnectionLost, Server, TrackerAddress
from raytasks.protocol.protocol_version import NEEDS, PROTOCOL
from raytasks.protocol.queries import GetAddress
from raytasks.runner.on_ray import tracker_client as link
from raytasks.runner.on_ray.tracker_client import TrackerClient
from raytasks.settings import Settings
from tests.tracking import let_run

pytestmark = pytest.mark.skipif(not local_rpc.AVAILABLE, reason="needs Linux")

HERE, ELSEWHERE = "node-1", "node-2"


class Remote:
    """A method of an actor, as its handle shows it."""

    def __init__(self, method: Callable[..., Awaitable[Any]]) -> None:
        self._method = method

    def remote(self, *arguments: Any) -> "asyncio.Future[Any]":
        return asyncio.ensure_future(self._method(*arguments))


class Tracker:
    """A tracker's actor that says by which way it was called."""

    def __init__(self, node_id: str = HERE) -> None:
        self.node_id = node_id
        self.asked = 0
        self.called = asyncio.Event()
        self.gate: asyncio.Event | None = None
        self.server: Server | None = None
        self.started: list[Server] = []
        self.read = Remote(self._read)
        self.exchange = self.submit = Remote(self._by_ray)

    async def start(self) -> None:
        self.server = Server({"exchange": self._by_socket, "submit": self._by_socket})
        await self.server.start()
        self.started.append(self.server)

    async def _read(self, query: bytes) -> bytes:
        assert wire.query_of(query) == GetAddress(PROTOCOL, NEEDS)
        self.asked += 1
        return wire.encode(
            TrackerAddress(self.node_id, self.server.address if self.server else None)
        )

    async def _by_ray(self, message: bytes) -> bytes:
        self.called.set()
        if self.gate is not None:
            await self.gate.wait()
        return b"ray " + message

    async def _by_socket(self, message: bytes) -> bytes:
        return b"socket " + message


@pytest.fixture
async def tracker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tracker]:
    context = SimpleNamespace(get_node_id=lambda: HERE)
    monkeypatch.setattr("ray.get_runtime_context", lambda: context)
    tracker = Tracker()
    await tracker.start()
    monkeypatch.setattr("ray.get_actor", lambda *_: tracker)
    yield tracker
    for server in tracker.started:
        server.close()
    await let_run(10)  # until their connections have ended


@pytest.fixture
def replica(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The backend of an API replica."""
    with warnings.catch_warnings():  # Serve's own import warns
        warnings.simplefilter("ignore")
        backend = importlib.import_module("raytasks.api.on_ray.tracker_backend")
    monkeypatch.setattr(backend, "get_or_create_tracker", lambda _: tracker)
    return backend.TrackerBackend(Settings())


async def test_a_runner_on_the_trackers_node_uses_the_socket(tracker: Tracker) -> None:
    runner = TrackerClient()
    assert [await runner.send("exchange", b"%d" % n) for n in range(3)] == [
        b"socket 0",
        b"socket 1",
        b"socket 2",
    ]
    assert tracker.asked == 1


async def test_a_runner_elsewhere_calls_by_ray_and_does_not_ask_each_time(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker.node_id = ELSEWHERE
    runner = TrackerClient()
    assert [await runner.send("exchange", b"%d" % n) for n in range(3)] == [
        b"ray 0",
        b"ray 1",
        b"ray 2",
    ]
    assert tracker.asked == 1
    monkeypatch.setattr(link, "ASK_AGAIN_SECONDS", 0.0)
    runner = TrackerClient()
    await runner.send("exchange", b"")
    tracker.node_id = HERE  # it was started again on this node
    assert await runner.send("exchange", b"4") == b"socket 4"


async def test_nothing_overtakes_what_goes_by_ray(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ASK_AGAIN_SECONDS", 0.0)
    tracker.node_id, tracker.gate = ELSEWHERE, asyncio.Event()
    runner = TrackerClient()
    first = asyncio.ensure_future(runner.send("exchange", b"1"))
    await tracker.called.wait()
    tracker.node_id = HERE
    second = asyncio.ensure_future(runner.send("exchange", b"2"))
    await asyncio.sleep(0)
    tracker.gate.set()
    assert [await first, await second] == [b"ray 1", b"ray 2"]
    assert await runner.send("exchange", b"3") == b"socket 3"


async def test_a_runner_finds_the_trackers_next_process(tracker: Tracker) -> None:
    runner = TrackerClient()
    await runner.send("exchange", b"1")
    assert runner._channel is not None
    runner._channel.close()  # as when the process ends
    await tracker.start()
    assert await runner.send("exchange", b"2") == b"socket 2"
    assert tracker.asked == 2


async def test_an_api_replica_goes_by_ray_when_the_socket_breaks(replica: Any) -> None:
    assert await replica._send("submit", b"1") == b"ray 1"
    await replica.find_channel()
    assert await replica._send("submit", b"2") == b"socket 2"
    assert replica._channel is not None
    replica._channel.close()
    with pytest.raises(ConnectionLost):
        await replica._channel.call("submit", b"")
    assert await replica._send("submit", b"3") == b"ray 3"
    await replica.find_channel()
    assert await replica._send("submit", b"4") == b"socket 4"


async def test_an_api_replica_leaves_a_process_that_is_the_tracker_no_more(
    tracker: Tracker, replica: Any
) -> None:
    await replica.find_channel()
    former = replica._channel
    await replica.find_channel()
    assert replica._channel is former
    await tracker.start()
    await replica.find_channel()
    assert replica._channel is not former
    assert former is not None
    assert former.lost
    assert await replica._send("submit", b"1") == b"socket 1"


async def test_without_a_socket_everybody_calls_by_ray(tracker: Tracker, replica: Any) -> None:
    tracker.server, runner = None, TrackerClient()
    await replica.find_channel()
    assert await replica._send("submit", b"1") == b"ray 1"
    assert await runner.send("exchange", b"2") == b"ray 2"
