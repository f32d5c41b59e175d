"""The description of a handler's error, and whether it is retried. Nothing in here can fail.

An error runs its handler's code: its text, class and cause can raise anything, have any size, and
refer to themselves. Only `AttemptStopped` gets through, since code that does not return must be
stopped wherever it runs.
"""

import random
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic_core import ValidationError, to_json

from raytasks.handling.task_log import clean
from raytasks.model.retry import RetryDecision, RetryPolicy
from raytasks.runner.interrupt import AttemptStopped

MAX_NAME = 200
"""How many characters are kept of the name of an error's class."""

MAX_MESSAGE = 10_000
"""How many characters are kept of an error's text: the first ones."""

MAX_TRACEBACK = 20_000
"""How many characters are kept of an error's traceback: the last ones."""

_SHOWN_FIELDS = 20

Value = TypeVar("Value")

_SLOT: Any = BaseException.__dict__["__traceback__"]  # even if a subclass overrides it


def is_a(value: object, *kinds: type) -> bool:
    """Return whether a value is of one of these kinds, without running any code of its class.

    The built-in `isinstance` asks the value for its class, which may raise anything.
    """
    return issubclass(type(value), kinds)


def fenced(call: Callable[[], Value], otherwise: Callable[[BaseException], Value]) -> Value:
    """Return what `call` returns. If it raises, return what `otherwise` makes of the exception."""
    try:
        return call()
    except AttemptStopped:
        raise
    except BaseException as failure:
        return otherwise(failure)


def describe_error(error: BaseException, *, retryable: bool) -> str:
    """Return the JSON text that is kept of an exception: at most about 60 KB.

    Call it in the process where the exception was raised: not every exception survives being sent.
    """
    return fenced(
        lambda: _described(error, retryable=retryable),
        lambda _: _INDESCRIBABLE % ("true" if retryable else "false"),
    )


def judge(
    error: BaseException, policy: RetryPolicy, failures: int, random_source: random.Random
) -> RetryDecision:
    """Return the policy's decision on an error. If the policy itself fails, retry the error."""
    return fenced(
        lambda: policy.verdict(error, failures, random_source),
        lambda _: RetryDecision(True, policy.backoff(failures, random_source)),
    )


_INDESCRIBABLE = (
    '{"type":"Exception","message":"(the error cannot be described)","retryable":%s,'
    '"traceback":null}'
)


def _described(error: BaseException, *, retryable: bool) -> str:
    name = fenced(lambda: _cut(name_of(error), MAX_NAME), lambda _: "Exception")
    message = fenced(
        lambda: _cut(_text_of(error), MAX_MESSAGE),
        lambda failure: f"(its text cannot be had: {name_of(failure)[:MAX_NAME]})",
    )
    trace = fenced(lambda: _trace(error), lambda failure: _stack(error, failure))
    return to_json(
        {"type": name, "message": message, "retryable": retryable, "traceback": trace}
    ).decode()


def name_of(value: object) -> str:
    """Return the name of a value's class, even if its metaclass overrides it."""
    return str(type.__dict__["__name__"].__get__(type(value)))


def _text_of(error: BaseException) -> str:
    """Return the text of an error. That of pydantic would quote values, which may be secret."""
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{error.error_count()} validation errors for {error.title}"]
    for item in found[:_SHOWN_FIELDS]:
        place = ".".join(map(str, item["loc"]))
        lines.append(f"{place}: {item['msg']} [{item['type']}]" if place else item["msg"])
    return "\n".join(lines)


def _cut(text: str, most: int) -> str:
    return clean(str.__getitem__(text, slice(most)))[:most]


def _trace(error: BaseException) -> str:
    told = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
    if not isinstance(error, ValidationError):
        return _last(told.format())
    text = _text_of(error)
    return _last(piece.replace(str(error), text) for piece in told.format())


def _stack(error: BaseException, failure: BaseException) -> str:
    """Return the part of the traceback that can be printed, and a note on the rest."""
    told = f"(the rest of it cannot be printed: {name_of(failure)[:MAX_NAME]})\n"
    return fenced(
        lambda: _last(iter([*traceback.format_tb(_SLOT.__get__(error)), told])),
        lambda _: told,
    )


def _last(pieces: Iterator[str]) -> str:
    """Return the end of a traceback, without holding the whole of it in memory."""
    kept: deque[str] = deque()
    size = 0
    for piece in pieces:
        kept.append(piece[-MAX_TRACEBACK:])
        size += len(kept[-1])
        while size - len(kept[0]) >= MAX_TRACEBACK:
            size -= len(kept.popleft())
    return clean("".join(kept)[-MAX_TRACEBACK:])[-MAX_TRACEBACK:]
