"""Calls between processes of two versions of the messages: understood, or refused in one line."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec import msgpack

from raytasks.model.tasks import OtherProtocol
from raytasks.protocol import local_socket, protocol_version
from raytasks.protocol.local_socket import Server, SocketChannel
from raytasks.protocol.protocol_version import PROTOCOL, check


@pytest.mark.parametrize(
    ("protocol", "needs", "understood"),
    [
        (0, 0, True),  # up to 0.5
        (PROTOCOL, 0, True),
        (PROTOCOL + 3, PROTOCOL, True),
        (PROTOCOL + 3, PROTOCOL + 1, False),
    ],
)
def test_what_is_understood(protocol: int, needs: int, understood: bool) -> None:
    if understood:
        check(protocol, needs)
        return
    with pytest.raises(OtherProtocol) as caught:
        check(protocol, needs)
    assert "\n" not in str(caught.value)
    assert "raytasks stop" in str(caught.value)


def test_what_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_version, "NEEDS", 1)
    with pytest.raises(OtherProtocol, match=r"speaks version 0 .* understands 1 to 1"):
        check(0, 0)


@asynccontextmanager
async def channel_to(**options: frozenset[str]) -> AsyncIterator[SocketChannel]:
    async def echo(message: bytes) -> bytes:
        return message

    server = Server({"submit": echo, "exchange": echo}, **options)
    channel = await SocketChannel.open(await server.start())
    yield channel
    channel.close()
    server.close()


class TestSocket:
    """Replicas and drivers: each call over the socket has the versions of its sender."""

    async def test_a_caller_that_is_too_new_is_told_so_and_nothing_is_done(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with channel_to(self_checked=frozenset({"exchange"})) as channel:
            assert await channel.call("submit", b"1") == b"1"
            monkeypatch.setattr(local_socket, "NEEDS", PROTOCOL + 1)
            with pytest.raises(OtherProtocol, match="the caller speaks version"):
                await channel.call("submit", b"2")
            assert await channel.call("exchange", b"3") == b"3"  # it judges by itself
            monkeypatch.undo()
            assert await channel.call("submit", b"4") == b"4"  # the channel goes on

    async def test_a_caller_of_an_earlier_version_is_understood(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def former(call: local_socket._Call) -> bytes:
            body = msgpack.encode([call.number, call.method, call.body])
            return local_socket._LENGTH.pack(len(body)) + body

        plain = local_socket._frame
        async with channel_to() as channel:
            monkeypatch.setattr(
                local_socket,
                "_frame",
                lambda message: (
                    former(message) if isinstance(message, local_socket._Call) else plain(message)
                ),
            )
            assert await channel.call("submit", b"1") == b"1"

    def test_a_server_of_an_earlier_version_understands_our_calls(self) -> None:
        call = local_socket._Call(1, "submit", b"x", PROTOCOL, 0)
        number, method, body, *_ = msgpack.decode(local_socket._encode(call))
        assert (number, method, body) == (1, "submit", b"x")
