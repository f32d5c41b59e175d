"""The codec of the messages between processes on the hot path: msgpack, by msgspec.

Ray passes bytes on as they are. It would pickle an object, which takes longer than most of the work
on it. An unknown field is skipped, and a missing one has its default. So processes of two versions
understand each other during an upgrade.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, get_args

from msgspec import MsgspecError, Struct, msgpack

from raytasks.model.task_events import LogLine
from raytasks.model.tasks import Accepted, Duplicate, NewTask, NotUnderstood
from raytasks.protocol.commands import AnyCommand, Command
from raytasks.protocol.messages import (
    AttemptLog,
    Exchange,
    Feed,
    FeedQuery,
    Orders,
    Outcome,
    Report,
)
from raytasks.protocol.queries import AnyQuery, Query

Message = TypeVar("Message")

encode: Callable[[object], bytes] = msgpack.Encoder().encode
"""Return a message as bytes. Raises `TypeError`, and `UnicodeEncodeError` for lone surrogates."""


def _decoder(kind: type[Message]) -> Callable[[bytes], Message]:
    decode = msgpack.Decoder(kind).decode

    def decoded(message: bytes) -> Message:
        try:
            return decode(message)
        except (MsgspecError, UnicodeDecodeError, OverflowError, RecursionError) as error:
            raise NotUnderstood(f"{kind}: {error}") from error

    return decoded


exchange_of = _decoder(Exchange)
orders_of = _decoder(Orders)
new_tasks_of = _decoder(list[NewTask])
feed_query_of = _decoder(FeedQuery)
feed_of = _decoder(Feed)
query_of: Callable[[bytes], AnyQuery] = _decoder(AnyQuery)  # type: ignore[arg-type]
command_of: Callable[[bytes], AnyCommand] = _decoder(AnyCommand)  # type: ignore[arg-type]
"""These functions return the message that the bytes hold. Each raises `NotUnderstood`."""


def answer_of(asked: Query[Message] | Command[Message], data: bytes) -> Message:
    """Return the answer to a query or a command. Raises `NotUnderstood`."""
    found: Message = _answers(type(asked))(data)
    return found


@cache
def _answers(kind: Any) -> Callable[[bytes], Any]:
    (base,) = kind.__orig_bases__
    (answer,) = get_args(base)
    return _decoder(answer)


_PARTS = {kind: msgpack.Decoder(kind).decode for kind in (Outcome, Report, AttemptLog, LogLine)}


def check(part: Outcome | Report | AttemptLog | LogLine) -> None:
    """Raise an error if a part of an exchange cannot be encoded or decoded again."""
    _PARTS[type(part)](encode(part))


class _Accepted(Struct, frozen=True, omit_defaults=True):
    duplicates: dict[str, Duplicate]
    at: float | None = None


_accepted_of = _decoder(_Accepted)
_plain_duplicates_of = _decoder(dict[str, Duplicate])


def encode_accepted(answer: Mapping[str, Duplicate]) -> bytes:
    """Return the answer to a submission as bytes."""
    return encode(_Accepted(dict(answer), getattr(answer, "at", None)))


def duplicates_of(data: bytes) -> Accepted:
    """Return the answer to a submission that the bytes hold. Raises `NotUnderstood`.

    An older tracker answers with the duplicates only, without a time.
    """
    try:
        found = _accepted_of(data)
    except NotUnderstood:
        return Accepted(_plain_duplicates_of(data))
    answer = Accepted(found.duplicates)
    answer.at = found.at
    return answer
