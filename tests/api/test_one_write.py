"""An answer in one write: head and body together, and nothing is held for ever."""

import contextlib
from typing import Any

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from raytasks.api.one_write import in_one_write
from tests.api.listening.test_listener import HOST, listening


class Transport:
    """A transport that notes what is written, and its close."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.written.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.written


class Answer:
    """An answer of a server that writes each message at once."""

    def __init__(self) -> None:
        self.own = self.transport = Transport()

    async def send(self, message: Message) -> None:
        self.transport.write(message["data"])


async def test_head_and_body_are_one_write() -> None:
    answer = Answer()
    with in_one_write(answer.send):
        await answer.send({"data": b"head "})
        assert answer.own.written == []
        assert not answer.transport.is_closing()
        await answer.send({"data": b"body"})
        await answer.send({"data": b"more"})
    assert answer.own.written == [b"head body", b"more"]
    assert answer.transport is answer.own


async def test_a_head_alone_is_written_at_the_end() -> None:
    answer = Answer()
    with contextlib.suppress(RuntimeError), in_one_write(answer.send):
        await answer.send({"data": b"head"})
        raise RuntimeError("there is no body")
    assert answer.own.written == [b"head"]


async def test_a_close_comes_after_the_head() -> None:
    answer = Answer()
    with in_one_write(answer.send):
        await answer.send({"data": b"head"})
        answer.transport.close()
    assert answer.own.written == [b"head", b"closed"]


async def test_any_other_send_stays_as_it_is() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    with in_one_write(send):
        await send({"data": b"head"})
    assert sent == [{"data": b"head"}]


async def test_the_server_s_answers_have_what_it_needs() -> None:
    """It uses no public name of uvicorn: another version may have another one."""
    written: list[bytes] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer: Any = send.__self__  # type: ignore[attr-defined]
        own = answer.transport.write

        class Noting(Transport):
            def write(self, data: bytes) -> None:
                written.append(data)
                own(data)

        answer.transport = Noting()
        with in_one_write(send):
            await PlainTextResponse("ours")(scope, receive, send)

    async with listening(app) as listener, httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{HOST}:{listener.port}/")).text == "ours"
    [answer] = written
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"\r\n\r\nours")
