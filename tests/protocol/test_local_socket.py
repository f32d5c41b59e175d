"""Calls over a Unix socket: what is asked is answered, and a broken connection is noticed."""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raytasks.model.tasks import BacklogFull, TimesRefused
from raytasks.protocol import local_socket as local_rpc
from raytasks.protocol.local_socket import (
    Address,
    CallFailed,
    ConnectionLost,
    Server,
    SocketChannel,
)
from tests.tracking import let_run

pytestmark = pytest.mark.skipif(not local_rpc.AVAILABLE, reason="needs Linux")


class Methods:
    """The methods that the server of these tests offers."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        self.order: list[bytes] = []

    async def echo(self, body: bytes) -> bytes:
        self.order.append(body)
        return body[::-1]

    async def wait(self, body: bytes) -> bytes:
        self.begun.set()
        await self.gate.wait()
        return body

    async def refuse(self, body: bytes) -> bytes:
        raise BacklogFull(body.decode())

    async def fail(self, body: bytes) -> bytes:
        raise KeyError(body.decode())

    async def stumble(self, body: bytes) -> bytes:
        raise OSError("no such file: \udcff")


async def end(server: Server) -> None:
    """Close it when it has taken in who has called, and let its connections end."""
    await let_run(20)
    server.close()
    await let_run(20)


@contextlib.asynccontextmanager
async def connected(methods: Methods) -> AsyncIterator[tuple[Server, SocketChannel]]:
    names = ("echo", "wait", "refuse", "fail", "stumble")
    server = Server({name: getattr(methods, name) for name in names})
    connection = await SocketChannel.open(await server.start())
    try:
        yield server, connection
    finally:
        connection.close()
        await end(server)


async def test_a_call_is_answered_by_its_method() -> None:
    async with connected(Methods()) as (_, connection):
        assert await connection.call("echo", b"abc") == b"cba"


async def test_a_message_may_be_long_and_may_be_empty() -> None:
    async with connected(Methods()) as (_, connection):
        long = bytes(range(256)) * 20_000
        assert await connection.call("echo", long) == long[::-1]
        assert await connection.call("echo", b"") == b""


async def test_a_call_that_waits_holds_up_no_other() -> None:
    methods = Methods()
    async with connected(methods) as (_, connection):
        waiting = asyncio.ensure_future(connection.call("wait", b"later"))
        await methods.begun.wait()
        assert await connection.call("echo", b"now") == b"won"
        methods.gate.set()
        assert await waiting == b"later"


async def test_calls_begin_in_their_order() -> None:
    methods = Methods()
    async with connected(methods) as (_, connection):
        bodies = [b"%d" % number for number in range(50)]
        await asyncio.gather(*(connection.call("echo", body) for body in bodies))
        assert methods.order == bodies


async def test_an_error_of_raytasks_comes_as_what_it_is() -> None:
    async with connected(Methods()) as (_, connection):
        with pytest.raises(BacklogFull, match="too many"):
            await connection.call("refuse", b"too many")
        assert await connection.call("echo", b"ab") == b"ba"


async def test_a_schedule_that_is_refused_still_names_its_field() -> None:
    async def refuse(body: bytes) -> bytes:
        raise TimesRefused(body.decode())

    methods = Methods()
    methods.refuse = refuse  # type: ignore[method-assign]
    async with connected(methods) as (_, connection):
        with pytest.raises(TimesRefused) as raised:
            await connection.call("refuse", b"timezone: there is no time zone 'X'")
    assert raised.value.fault == ("/timezone", "there is no time zone 'X'")


async def test_another_error_and_an_unknown_method_are_told_as_text() -> None:
    async with connected(Methods()) as (_, connection):
        with pytest.raises(CallFailed, match="KeyError: 'what'"):
            await connection.call("fail", b"what")
        with pytest.raises(CallFailed, match="KeyError: 'none'"):
            await connection.call("none", b"")


async def test_an_error_whose_text_cannot_be_sent_is_told_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, local_rpc.__name__)  # nor can pytest send its log line
    async with asyncio.timeout(5), connected(Methods()) as (_, connection):
        with pytest.raises(CallFailed, match="no such file"):
            await connection.call("stumble", b"")


async def test_a_connection_that_is_closed_at_once_is_closed() -> None:
    server = Server({})
    connection = await SocketChannel.open(await server.start())
    connection.close()
    assert connection.lost
    with pytest.raises(ConnectionLost):
        await connection.call("echo", b"")
    await end(server)


async def test_a_process_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    methods = Methods()
    async with connected(methods) as (server, connection):
        await connection.call("echo", b"")  # so that it has been let in
        monkeypatch.setattr(os, "getuid", lambda: -1)
        with pytest.raises(PermissionError):
            await SocketChannel.open(server.address)
        await let_run(20)  # until the server has refused it as well
        monkeypatch.undo()
        assert await connection.call("echo", b"ab") == b"ba"


async def test_a_caller_that_gave_up_disturbs_nobody() -> None:
    methods = Methods()
    async with connected(methods) as (_, connection):
        waiting = asyncio.ensure_future(connection.call("wait", b"later"))
        await methods.begun.wait()
        waiting.cancel()
        methods.gate.set()
        assert await connection.call("echo", b"ab") == b"ba"
        assert not connection.lost


async def test_a_server_process_that_ends_is_noticed_by_open_and_by_later_calls() -> None:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("\0raytasks-test-ending")
    opened: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
    server = await asyncio.start_unix_server(lambda _, end: opened.put_nowait(end), sock=listening)
    connection = await SocketChannel.open(Address("raytasks-test-ending", b"x"))
    try:
        waiting = asyncio.ensure_future(connection.call("echo", b""))
        (await opened.get()).close()
        with pytest.raises(ConnectionLost):
            await waiting
        assert connection.lost
        with pytest.raises(ConnectionLost):
            await connection.call("echo", b"")
    finally:
        server.close()


async def test_nobody_who_does_not_know_the_secret_is_answered() -> None:
    methods = Methods()
    server = Server({"echo": methods.echo})
    address = await server.start()
    stranger = await SocketChannel.open(Address(address.name, b"?" * local_rpc.TOKEN_BYTES))
    try:
        with pytest.raises(ConnectionLost):
            await stranger.call("echo", b"abc")
        assert methods.order == []
    finally:
        await end(server)


async def test_a_caller_that_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_rpc, "TOKEN_SECONDS", 0.05)
    server = Server({})
    await server.start()
    silent = socket.socket(socket.AF_UNIX)
    silent.setblocking(False)
    silent.connect("\0" + server.address.name)
    reader, writer = await asyncio.open_unix_connection(sock=silent)
    try:
        async with asyncio.timeout(5):
            assert await reader.read() == b""
    finally:
        writer.close()
        await end(server)


async def test_a_message_that_makes_no_sense_ends_its_connection_only() -> None:
    async with connected(Methods()) as (server, connection):
        broken = socket.socket(socket.AF_UNIX)
        broken.setblocking(False)
        broken.connect("\0" + server.address.name)
        reader, writer = await asyncio.open_unix_connection(sock=broken)
        writer.write(server.address.token + b"\xff\xff\xff\xff")
        assert await reader.read() == b""
        writer.close()
        assert await connection.call("echo", b"ab") == b"ba"


async def test_an_address_where_nobody_listens_is_an_os_error() -> None:
    with pytest.raises(OSError, match="refused"):
        await SocketChannel.open(Address("raytasks-test-nobody", b""))


def test_an_address_does_not_show_its_secret() -> None:
    assert "secret" not in repr(Address("name", b"secret"))


_UVLOOP = """
import asyncio, gc, sys, uvloop
from raytasks.protocol.local_socket import SocketChannel, Server

async def echo(body):
    return body

async def listen():
    return await Server({"echo": echo}).start()  # as nobody holds it

async def main():
    address = await listen()
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0)
    connection = await SocketChannel.open(address)
    for body in (b"a", b"b"):
        assert await connection.call("echo", body) == body
        gc.collect()
        await asyncio.sleep(0)
    connection.close()
    await asyncio.sleep(0.05)
    gc.collect()
    again = await SocketChannel.open(address)
    assert await again.call("echo", b"c") == b"c"
    again.close()
    print("done")

run = uvloop.run if sys.argv[1] == "uvloop" else asyncio.run
run(main())
"""


@pytest.mark.parametrize("kind", ["uvloop", "asyncio"])
def test_it_listens_until_it_is_closed(kind: str) -> None:
    """Ray's async actors run on uvloop, which closes the socket of a server that nobody holds."""
    done = subprocess.run(
        [sys.executable, "-c", _UVLOOP, kind],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr
    assert done.stderr == ""


async def test_one_that_is_closed_is_let_go() -> None:
    server = Server({})
    await server.start()
    assert (server.listening, server in local_rpc._LISTENING) == (True, True)
    server.close()
    assert (server.listening, server in local_rpc._LISTENING) == (False, False)


async def test_the_end_of_the_loop_is_no_error() -> None:
    """Connections that are cancelled with their loop report nothing."""
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with connected(Methods()) as (_, connection):
        assert await connection.call("echo", b"abc") == b"cba"
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            if "Server._serve" in repr(task):
                task.cancel()
        await let_run(5)
        assert connection.lost
    assert told == []
