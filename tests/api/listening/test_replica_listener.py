"""The keeper of a replica's listener: the port, what `/health` says, and the end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse

from raytasks.api.listening import replica_listener
from raytasks.api.listening.replica_listener import ReplicaListener
from raytasks.settings import Settings
from tests.ports import quiet_port

HOST = "127.0.0.1"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and tries come at once."""
    monkeypatch.setattr(replica_listener, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(replica_listener, "LOOK_SECONDS", 0.01)


class Replica:
    """A replica with a listener, which Serve ends when `ends` is set."""

    def __init__(self, port: int, **settings: Any) -> None:
        self.ends = False
        self.url = f"http://{HOST}:{port}/"
        read = Settings(_env_file=None, listen_port=port, **settings)
        self.listener = ReplicaListener(PlainTextResponse("ok"), read, "one", lambda: self.ends)
        self.listener.begin()

    async def answer(self, client: httpx.AsyncClient) -> str:
        """Return the answer, as soon as it listens."""
        while True:
            try:
                return (await client.get(self.url)).text
            except httpx.ConnectError:
                await asyncio.sleep(0.01)

    async def reason(self) -> dict[str, Any]:
        """Return why it does not listen, as soon as it knows."""
        while True:
            if found := self.listener.reasons():
                return found[0]
            await asyncio.sleep(0.01)


async def refused(client: httpx.AsyncClient, url: str) -> None:
    """Return when connections are refused."""
    while True:
        try:
            await client.get(url)
        except httpx.ConnectError:
            return
        except (httpx.ReadError, httpx.RemoteProtocolError):
            pass  # it waited to be accepted when the listener was closed


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client whose connections do not hold up a stop."""
    async with httpx.AsyncClient(headers={"Connection": "close"}) as client:
        yield client


async def test_it_listens_until_its_end(client: httpx.AsyncClient) -> None:
    replica = Replica(quiet_port())
    assert await replica.answer(client) == "ok"
    assert replica.listener.reasons() == []
    await replica.listener.end()
    with pytest.raises(httpx.ConnectError):
        await client.get(replica.url)


async def test_it_stops_as_soon_as_serve_begins_to_end_the_replica(
    client: httpx.AsyncClient,
) -> None:
    replica = Replica(quiet_port())
    await replica.answer(client)
    replica.ends = True
    await asyncio.wait_for(refused(client, replica.url), 10)
    await replica.listener.end()


async def test_without_the_port_health_says_why_until_it_is_free(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        replica = Replica(port)
        reason = await replica.reason()
    assert reason["code"] == "not_listening"
    assert f"port {port} is in use by another program" in reason["message"]
    assert await replica.answer(client) == "ok"
    assert replica.listener.reasons() == []
    assert len([line for line in caplog.messages if "in use by another program" in line]) == 1
    await replica.listener.end()
