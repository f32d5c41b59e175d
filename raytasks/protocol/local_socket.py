"""Calls between two processes of one machine, over a Unix socket. Plain asyncio, no Ray in it.

Measured by `python -m benchmarks.call_cost`: such a call takes about a tenth of the time, and of
the processor time, of a Ray actor call. It cannot outlive a process or reach another machine, so
callers need another way too.
"""

import asyncio
import hmac
import itertools
import logging
import os
import secrets
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from msgspec import Struct, ValidationError, msgpack

from raytasks.model import tasks as models
from raytasks.protocol import protocol_version
from raytasks.protocol.protocol_version import NEEDS, PROTOCOL

log = logging.getLogger(__name__)

Method = Callable[[bytes], Awaitable[bytes]]

AVAILABLE = sys.platform == "linux"
"""Whether such sockets exist here: they have names without a file, which only Linux has."""

MAX_BYTES = 2**30
"""The longest message, in bytes."""

TOKEN_BYTES = 32
"""The length of the secret that opens a connection."""

TOKEN_SECONDS = 5.0
"""How long a caller may take to send the secret."""

_LENGTH = struct.Struct("<I")
_CREDENTIALS = struct.Struct("iII")  # of process, user and group: unix(7)


class Address(Struct, frozen=True):
    """The address where a server listens, and the secret that a caller must send first."""

    name: str
    token: bytes

    def __repr__(self) -> str:
        return f"Address({self.name!r})"


class TrackerAddress(Struct, frozen=True):
    """The address by which a process can be called from its node; None: it has none."""

    node_id: str
    address: Address | None


class ConnectionLost(ConnectionError):
    """The connection ended before the answer: the call may have been made, or not."""


class CallFailed(Exception):
    """A method raised an error other than a `RaytasksError`. The text says which."""


class _Call(Struct, array_like=True, frozen=True):
    number: int
    method: str
    body: bytes
    protocol: int = 0
    needs: int = 0


class _Answer(Struct, array_like=True, frozen=True):
    number: int
    body: bytes = b""
    error: str | None = None
    message: str = ""


_LISTENING: "set[Server]" = set()
"""All servers that listen. They are held here, as uvloop closes the socket of one nobody holds."""


class Server:
    """Answers calls of its methods, each of which takes bytes and returns bytes.

    Calls of a connection begin in order, and are answered as they end. If a caller goes away, its
    calls go on. The server listens until it is closed, even if nobody holds it.

    A caller whose messages are not understood gets `OtherProtocol`. The methods `self_checked`
    judge that by themselves.
    """

    def __init__(
        self, methods: Mapping[str, Method], *, self_checked: Collection[str] = ()
    ) -> None:
        self._methods = dict(methods)
        self._self_checked = self_checked
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.address = Address(
            f"raytasks-{secrets.token_hex(16)}", secrets.token_bytes(TOKEN_BYTES)
        )

    async def start(self) -> Address:
        """Listen, and return the address. Raises `OSError`."""
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.setblocking(False)
            listening.bind(_abstract(self.address.name))
            self._server = await asyncio.start_unix_server(self._begin, sock=listening)
        except BaseException:
            listening.close()
            raise
        _LISTENING.add(self)
        return self.address

    @property
    def listening(self) -> bool:
        """Whether the server can be called."""
        return self._server is not None and self._server.is_serving()

    def close(self) -> None:
        """Stop listening, and end all connections."""
        _LISTENING.discard(self)
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.close()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task of our own, as the one of asyncio's streams reports its cancel as an error.
        self._hold(asyncio.ensure_future(self._serve(reader, writer)))

    def _hold(self, task: "asyncio.Task[None]") -> None:
        self._tasks.add(task)  # asyncio itself holds tasks only weakly
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            _check_peer(writer.get_extra_info("socket"))
            async with asyncio.timeout(TOKEN_SECONDS):
                told = await reader.readexactly(TOKEN_BYTES)
            if not hmac.compare_digest(told, self.address.token):
                log.warning("somebody has called who does not know the secret")
                return
            decode = msgpack.Decoder(_Call).decode
            while True:
                call = decode(await _read(reader))
                self._hold(asyncio.ensure_future(self._answer(call, writer)))
        except (OSError, EOFError, ValidationError, ValueError) as error:
            if not isinstance(error, EOFError):
                log.warning("a caller is cut off: %s", error)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, call: _Call, writer: asyncio.StreamWriter) -> None:
        try:
            method = self._methods[call.method]
            if call.method not in self._self_checked:
                protocol_version.check(call.protocol, call.needs)
            answer = _frame(_Answer(call.number, await method(call.body)))
        except Exception as error:
            if not isinstance(error, models.RaytasksError):
                log.exception("a call of %s failed", call.method)
            # An error's text may hold what cannot be sent, e.g. the name of a file.
            message = str(error).encode(errors="backslashreplace").decode()
            answer = _frame(_Answer(call.number, error=type(error).__name__, message=message))
        if not writer.is_closing():
            writer.write(answer)


class SocketChannel:
    """The caller's end of a connection. All methods belong to one event loop. Calls may overlap."""

    def __init__(
        self, address: Address, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.address = address
        self._writer = writer
        self._numbers = itertools.count(1)
        self._open: dict[int, asyncio.Future[bytes]] = {}
        self._lost = False
        self._reading = asyncio.ensure_future(self._read(reader))

    @classmethod
    async def open(cls, address: Address) -> "SocketChannel":
        """Connect. Raises `OSError`, e.g. if nobody listens there in this network namespace."""
        calling = socket.socket(socket.AF_UNIX)
        try:
            calling.setblocking(False)
            calling.connect(_abstract(address.name))  # succeeds or fails at once
            _check_peer(calling)
            reader, writer = await asyncio.open_unix_connection(sock=calling)
        except BaseException:
            calling.close()
            raise
        writer.write(address.token)
        return cls(address, reader, writer)

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._lost

    async def call(self, method: str, body: bytes) -> bytes:
        """Call a method of the server, and return its answer.

        Raises the method's error if it is a `RaytasksError`, `CallFailed` for other errors, and
        `ConnectionLost`.
        """
        if self._lost:
            raise ConnectionLost("the connection has ended")
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._open[number] = answer
        try:
            try:
                self._writer.write(_frame(_Call(number, method, body, PROTOCOL, NEEDS)))
            except (OSError, RuntimeError) as error:  # uvloop's error for a closed transport
                raise ConnectionLost(str(error)) from error
            return await answer
        finally:
            self._open.pop(number, None)

    def close(self) -> None:
        """End the connection; open calls raise `ConnectionLost`."""
        self._reading.cancel()
        self._end()  # here too, as a task cancelled before its first step never runs

    async def _read(self, reader: asyncio.StreamReader) -> None:
        decode = msgpack.Decoder(_Answer).decode
        try:
            while True:
                self._settle(decode(await _read(reader)))
        except (OSError, EOFError):
            pass
        except (ValidationError, ValueError):
            log.exception("an answer cannot be read")
        finally:
            self._end()

    def _end(self) -> None:
        self._lost = True
        self._writer.close()
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(ConnectionLost("the connection ended before the answer"))

    def _settle(self, answer: _Answer) -> None:
        waiting = self._open.get(answer.number)
        if waiting is None or waiting.done():  # the caller has given up
            return
        if answer.error is None:
            waiting.set_result(answer.body)
        else:
            waiting.set_exception(_error(answer.error, answer.message))


def _error(name: str, message: str) -> Exception:
    kind = getattr(models, name, None)
    if isinstance(kind, type) and issubclass(kind, models.RaytasksError):
        return kind(message)
    return CallFailed(f"{name}: {message}")


def _abstract(name: str) -> str:
    return f"\0{name}"


async def _read(reader: asyncio.StreamReader) -> bytes:
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_BYTES:
        raise ValueError(f"a message of {length} bytes is too long")
    return await reader.readexactly(length)


_encode = msgpack.Encoder().encode


def _frame(message: Any) -> bytes:
    body = _encode(message)
    if len(body) > MAX_BYTES:
        raise models.NotUnderstood(f"a message of {len(body)} bytes is too long")
    return _LENGTH.pack(len(body)) + body


def _check_peer(peer: Any) -> None:
    """Refuse a process of another user, which may have taken a dead server's name.

    Raises `PermissionError`.
    """
    found = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(found)
    if user != os.getuid():
        raise PermissionError(f"the other process belongs to user {user}")
