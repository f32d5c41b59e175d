"""The strict JSON of everything that raytasks keeps, so that every reader can read it.

It has no NaN or Infinity, no number too long for readers, and no lone surrogate. No object has a
name twice, and no depth is more than parsers accept. Payloads, results and checkpoints pass here.
"""

import json
import math
import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, from_json, to_json

from raytasks.model.json_places import name_twice, pointer

MAX_LEVELS = 190
"""How deeply lists and objects may be nested. Parsers refuse more than 200 levels."""

MAX_DIGITS = 4300
"""How many digits an integer may have. Python's own readers refuse longer ones."""

_MAYBE_TOO_BIG = re.compile(rb"[0-9](?:[eE]|(?<![0-9][0-9])[0-9]{299})")
"""A pattern that every number too big for a float matches: an exponent, or 300 digits.

Digits are counted only from the beginning of a number, so that a body of digits alone is not slow.
"""

_CONSTANTS = (b"NaN", b"Infinity")
_ZEROS = bytes.maketrans(b"123456789", b"0" * 9)
_TOO_LONG = b"0" * (MAX_DIGITS + 1)


class NotJson(ValueError):
    """A value that cannot be kept as JSON.

    The `reason` says why. The `pointer` is a JSON pointer (RFC 6901) to the place. It is empty for
    the whole value, or if the place is not known.
    """

    def __init__(self, reason: str, pointer: str = "") -> None:
        super().__init__(f"{reason}, at {pointer}" if pointer else reason)
        self.reason = reason
        self.pointer = pointer


class NestedTooDeeply(NotJson):
    """A value whose lists and objects are nested more deeply than allowed."""

    def __init__(self, levels: int) -> None:
        super().__init__(f"nested deeper than {levels} levels")
        self.args = (levels,)

    def __str__(self) -> str:
        return self.reason


class NameTwice(NotJson):
    """A value with an object that has a name twice. Readers would keep one of the two values."""


def parse_json(body: bytes, *, distinct: bool = False) -> Any:
    """Return the JSON value of the body. Raises `ValueError` with the place of the mistake.

    It is strict: no NaN, no Infinity, no numbers too big for a float, UTF-8 without lone
    surrogates. Raises `NameTwice` for an object that has a name twice. With `distinct`, the names
    in each object are known to differ.
    """
    value = from_json(body, allow_inf_nan=False)
    if _MAYBE_TOO_BIG.search(body):
        # A number such as 1e999 is read as infinity, which JSON cannot write back.
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise ValueError("a number is too big") from None
        except RecursionError:
            raise ValueError("nested too deeply") from None
    if not distinct:
        _refuse_names(body, value)
    return value


def encode_json(value: Any, *, max_depth: int = MAX_LEVELS) -> bytes:
    """Return a value as JSON that `parse_json` and every other reader can read.

    Takes all that pydantic can write: models, dataclasses, dates, and so on. Raises `NotJson`.
    Users' code (serializers, generators) may run and raise errors. Their text is in that of
    `NotJson`, and pydantic's error is its `__cause__`.
    """
    try:
        text = to_json(value)
    except PydanticSerializationError as error:
        raise _refusal(error) from error
    check_text(text, max_depth=max_depth)
    if b"null" in text:
        _refuse_hidden_numbers(value)
    return text


def check_text(text: bytes, *, max_depth: int = MAX_LEVELS, distinct: bool = False) -> None:
    """Refuse JSON that `to_json` wrote leniently and that is not strict. Raises `NotJson`.

    With `distinct`, the names in each object are known to differ.
    """
    if _is_too_deep(text, max_depth):
        raise NestedTooDeeply(max_depth)
    if any(constant in text for constant in _CONSTANTS) or _has_long_number(text):
        _refuse_numbers(text)
    if not distinct:
        _refuse_names(text, from_json(text))


def is_deeper(value: Any, levels: int) -> bool:
    """Return whether lists and objects of a JSON value are nested deeper than `levels`.

    It goes level by level, without recursion, so that it works for any depth.
    """
    level, depth = [value] if isinstance(value, dict | list) else [], 0
    while level:
        depth += 1
        if depth > levels:
            return True
        level = [
            item
            for container in level
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
    return False


def _refuse_names(text: bytes, value: Any) -> None:
    """Refuse names that are twice in an object of a text. The value is what was read of it.

    A text has a colon for each name, and others only in its strings. Of two equal names one is
    read, so the text written back is shorter. These two looks cost little, and are enough for most
    texts: few are read once more.
    """
    if text.count(b":") == _count_names(value) or to_json(value) == text:
        return
    if found := name_twice(text):
        place, name = found
        raise NameTwice(f"an object with the name {name[:100]!r} twice", place)


def _count_names(value: Any) -> int:
    names, waiting = 0, [value]
    while waiting:
        found = waiting.pop()
        kind = type(found)
        if kind is dict:
            names += len(found)
            waiting += found.values()
        elif kind is list:
            waiting += found
    return names


def _refusal(error: PydanticSerializationError) -> NotJson:
    text = str(error).removeprefix("Error serializing to JSON: ")
    if "depth exceeded" in text:
        return NestedTooDeeply(MAX_LEVELS)
    if "UnicodeEncodeError" in text:
        return NotJson("a text has a lone surrogate, which UTF-8 cannot hold")
    if "Circular reference" in text:
        return NotJson("it contains itself")
    return NotJson(text)


def _is_too_deep(text: bytes, max_depth: int) -> bool:
    if text.count(b"[") + text.count(b"{") <= max_depth:
        return False
    try:
        return is_deeper(_lenient(text), max_depth)
    except ValueError as error:  # the parser's own limit, which is higher than ours
        if "recursion limit" in str(error):
            return True
        raise


def _has_long_number(text: bytes) -> bool:
    return len(text) > MAX_DIGITS and _TOO_LONG in text.translate(_ZEROS)


def _refuse_numbers(text: bytes) -> None:
    for place, number in _numbers(_lenient(text)):
        if isinstance(number, _LongNumber):
            reason = f"an integer with more than {MAX_DIGITS} digits"
            raise NotJson(reason, pointer(*place))
        if isinstance(number, float) and not math.isfinite(number):
            raise _no_number(number, place)


class _LongNumber(str):
    """The digits of a number that is too long."""


def _lenient(text: bytes) -> Any:
    if _has_long_number(text):
        return json.loads(
            text, parse_int=lambda digits: int(digits) if len(digits) < 400 else _long(digits)
        )
    return from_json(text)


def _long(digits: str) -> Any:
    return _LongNumber(digits) if len(digits.lstrip("-")) > MAX_DIGITS else int(digits)


def _numbers(value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, dict):
            waiting += [((*place, name), item) for name, item in found.items()]
        elif isinstance(found, list):
            waiting += [((*place, index), item) for index, item in enumerate(found)]
        else:
            yield place, found


def _refuse_hidden_numbers(value: Any) -> None:
    """Refuse NaN and infinity in fields of models: pydantic writes null for them by default."""
    waiting: list[tuple[tuple[str | int, ...], Any]] = [((), value)]
    while waiting:
        place, found = waiting.pop()
        if isinstance(found, dict):
            waiting += [((*place, str(name)), item) for name, item in found.items()]
        elif isinstance(found, list | tuple | set | frozenset | deque):
            waiting += [((*place, index), item) for index, item in enumerate(found)]
        elif isinstance(found, float) and not math.isfinite(found):
            raise _no_number(found, place)
        elif _is_written_by_default(type(found)):
            extra = getattr(found, "__pydantic_extra__", None) or {}
            fields = {**getattr(found, "__dict__", {}), **extra}
            waiting += [((*place, name), item) for name, item in fields.items()]


def _is_written_by_default(kind: type) -> bool:
    """Return whether a class is a model or a dataclass without its own way to be written."""
    if issubclass(kind, BaseModel):
        config: Mapping[str, Any] = kind.model_config
    elif is_dataclass(kind):
        config = getattr(kind, "__pydantic_config__", None) or {}
    else:
        return False
    decorators = getattr(kind, "__pydantic_decorators__", None)
    own = decorators and (decorators.field_serializers or decorators.model_serializers)
    return not own and "ser_json_inf_nan" not in config


def _no_number(number: float, place: Sequence[str | int]) -> NotJson:
    name = "NaN" if math.isnan(number) else "Infinity"
    return NotJson(f"{name} is no JSON number", pointer(*place))
