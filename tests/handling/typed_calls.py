"""Calls of handlers, good and bad: a type checker refuses a payload of another type.

Nobody imports this module. `make lint` checks it by mypy, in which an error that is expected here
and does not come is an error.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import raytasks
from raytasks import Batch, Context, handler, outbox
from raytasks.client import AsyncClient, Client
from raytasks.testing import Queue


@dataclass
class Mail:
    to: str


class Letter(Mail):
    pass


@handler("plain")
def plain(payload: Mail) -> str:
    return payload.to


@handler
def bare(payload: Mail) -> str:
    return payload.to


@handler()
def unnamed(payload: Mail) -> str:
    return payload.to


@handler("with_context")
def with_context(payload: Mail, context: Context) -> str:
    return payload.to


@handler("with_optional")
async def with_optional(payload: Mail, context: Context | None = None) -> None:
    return None


@handler("yields")
async def yields(payload: Mail) -> AsyncIterator[int]:
    yield 1


@handler("number")
def number(payload: int, context: Context) -> int:
    return payload


@handler("numbers")
def numbers(payload: list[float]) -> float:
    return sum(payload)


@handler("anything")
def anything(payload: Any, context: Context) -> Any:
    return payload


@handler("one")
class One:
    def __call__(self, payload: Mail) -> str:
        return payload.to


@handler("two")
class Two:
    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, payload: Mail, context: Context) -> str:
        return payload.to


@handler("batch", batch=Batch(8))
def batch(payloads: list[Mail]) -> list[str]:
    return [payload.to for payload in payloads]


@handler("batches", batch=Batch(8))
class Batches:
    def __call__(self, payloads: list[Mail], contexts: list[Context]) -> list[str]:
        return [payload.to for payload in payloads]


mail = Mail("a")
name: str = plain(mail)
name = with_context(mail, Context("1", "with_context"))
instance: Two = Two()

plain(3)  # type: ignore[arg-type]
raytasks.submit("plain", {"to": "a"})
raytasks.submit("plain", 3, priority=2)
raytasks.submit(plain, mail)
raytasks.submit(plain, Letter("a"), tags=["a"])
raytasks.submit(with_context, mail)
raytasks.submit(with_optional, mail)
raytasks.submit(yields, mail)
raytasks.submit(number, 3)
raytasks.submit(numbers, [1.5, 2])
raytasks.submit(anything, {"to": 1})
raytasks.submit(One, mail)
raytasks.submit(Two, mail)
raytasks.submit(batch, mail)
raytasks.submit(Batches, mail)
raytasks.submit(plain, "a")  # type: ignore[arg-type]
raytasks.submit(plain, {"to": "a"})  # type: ignore[arg-type]
raytasks.submit(with_context, 3)  # type: ignore[arg-type]
raytasks.submit(with_optional, 3)  # type: ignore[arg-type]
raytasks.submit(yields, "a")  # type: ignore[arg-type]
raytasks.submit(number, "3")  # type: ignore[arg-type]
raytasks.submit(numbers, ["3"])  # type: ignore[arg-type]
raytasks.submit(One, "a")  # type: ignore[arg-type]
raytasks.submit(Two, "a")  # type: ignore[arg-type]
raytasks.submit(batch, "a")  # type: ignore[arg-type]
raytasks.submit(Batches, "a")  # type: ignore[arg-type]
raytasks.submit(3, "a")  # type: ignore[arg-type]
raytasks.submit(plain)  # type: ignore[call-arg]


def in_plain_code(client: Client, queue: Queue) -> None:
    client.submit(plain, mail, priority=3)
    client.run("plain", {"to": "a"})["result"]
    client.run(Two, mail)
    queue.submit(with_context, mail)
    client.submit(plain, 3)  # type: ignore[arg-type]
    client.run(Two, 3)  # type: ignore[arg-type]
    client.submit(plain, mail, priority="high")  # type: ignore[arg-type]
    queue.submit(with_context, 3)  # type: ignore[arg-type]


def in_a_transaction(connection: Any) -> None:
    outbox.submit(connection, plain, mail, priority=3)
    outbox.submit(connection, "plain", {"to": "a"})
    outbox.prepare(Two, mail)
    outbox.submit(connection, plain, 3)  # type: ignore[arg-type]
    outbox.submit(connection, plain, mail, priority="high")  # type: ignore[arg-type]
    outbox.prepare(Two, "a")  # type: ignore[arg-type]


async def on_a_loop(client: AsyncClient) -> None:
    await client.submit(with_optional, mail)
    await client.run(plain, mail)
    await raytasks.submit_async(plain, mail)
    await raytasks.submit_async("plain", 3)
    await client.submit(with_optional, 3)  # type: ignore[arg-type]
    await client.run(plain, 3)  # type: ignore[arg-type]
    await raytasks.submit_async(plain, 3)  # type: ignore[arg-type]
