"""Strict JSON of a handler's values, or an error that says what is wrong with the value.

The handler's code may run meanwhile: generators, computed fields, serializers, `for_json`. Its
errors pass unchanged, since they can be a `Snooze`, or a lost connection.
"""

from collections import deque
from collections.abc import Mapping, MappingView, Sequence, Set
from dataclasses import is_dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from raytasks.model.strict_json import MAX_LEVELS, NotJson, check_text

_LEAVES = frozenset({type(None), bool, int, float, str})
_OWN_WORDS = ("Circular reference", "Maximum serialization depth")


def handler_json(value: Any) -> bytes:
    """Return a value as JSON that every parser can read.

    It takes what pydantic can write (models, dataclasses, dates and so on). It takes arrays and
    scalars of numpy and similar packages, and views of mappings. It takes any value with a method
    `for_json()` that returns one of those. Raises `NotJson`, and the errors of the handler's code.
    """
    if value is None:
        return b"null"
    if not _is_plain(value, MAX_LEVELS):
        whole, value = value, _plain(value)
        _refuse_one_name_twice(whole)
    try:
        text = to_json(value, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        raise _refusal(error) from None
    if not _is_harmless(text):
        check_text(text, distinct=True)
    return text


def _is_plain(value: Any, levels: int) -> bool:
    """Return whether the value has only JSON's own types: then writing it runs no code."""
    kind = type(value)
    if kind in _LEAVES:
        return True
    if not levels:
        return False
    if kind is dict:
        for name, item in value.items():
            if type(name) is not str:
                return False
            if type(item) not in _LEAVES and not _is_plain(item, levels - 1):
                return False
        return True
    if kind is not list and kind is not tuple:
        return False
    for item in value:  # three times as fast as all() with a generator
        if type(item) not in _LEAVES and not _is_plain(item, levels - 1):
            return False
    return True


def _is_harmless(text: bytes) -> bool:
    """Return whether JSON from `to_json` is certainly strict, as most short JSON is."""
    return (
        len(text) <= 2 * MAX_LEVELS  # so it is not nested too deeply, and has no long number
        and b"NaN" not in text
        and b"Infinity" not in text
    )


def _plain(value: Any) -> Any:
    """Convert the value to dicts with text keys, lists, and plain scalars."""
    try:
        return to_jsonable_python(value, fallback=_converted, inf_nan_mode="constants")
    except PydanticSerializationError as error:
        cause = error.__cause__  # raised by a serializer of the handler
        if cause is None:
            if "calling function" in str(error):  # the handler's; its error is unknown
                raise
            raise _refusal(error) from None
    except ValueError as error:
        if not _is_by_pydantic(error):
            raise
        raise _refusal(error) from None
    raise cause


def _converted(value: Any) -> Any:
    """Convert a value that pydantic does not know to one that it knows."""
    own = getattr(type(value), "for_json", None)
    if own is not None:
        return own(value)
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return value.tolist()
    if hasattr(type(value), "__struct_fields__"):  # of msgspec
        return {name: getattr(value, name) for name in type(value).__struct_fields__}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, MappingView | Sequence | Set):
        return list(value)  # type: ignore[arg-type]
    raise NotJson(
        f"Unable to serialize a value of type {type(value).__name__[:100]}; give the class a "
        "method for_json(self) that returns what JSON can hold"
    )


def _is_by_pydantic(error: ValueError) -> bool:
    """Return whether pydantic itself has raised the error, and not code that it called."""
    if not (isinstance(error, UnicodeError) or str(error).startswith(_OWN_WORDS)):
        return False
    here = error.__traceback__
    while here is not None and here.tb_next is not None:
        here = here.tb_next
    return here is not None and here.tb_frame.f_code is _plain.__code__


def _refusal(error: Exception) -> NotJson:
    text = str(error).removeprefix("Error serializing to JSON: ").removeprefix("ValueError: ")
    if isinstance(error, UnicodeDecodeError) or "invalid utf-8" in text:
        return NotJson("bytes that are no UTF-8; encode them, e.g. as Base64")
    if isinstance(error, UnicodeEncodeError) or "UnicodeEncodeError" in text:
        return NotJson("a text has a lone surrogate, which UTF-8 cannot hold")
    if "Circular reference" in text:
        return NotJson("it contains itself")
    if "depth exceeded" in text:
        return NotJson("it is nested too deeply")
    return NotJson(text[:500])


def _refuse_one_name_twice(value: Any) -> None:
    """Refuse a dict in which two keys have the same name in JSON, such as 1 and "1".

    Only one of their values could be kept.
    """
    waiting = [value]
    while waiting:
        found = waiting.pop()
        inner: Any = ()
        if isinstance(found, dict):
            inner = found.values()
            if not all(type(key) is str for key in found):
                names = to_jsonable_python(dict.fromkeys(found), fallback=_converted)
                if len(names) < len(found):
                    raise NotJson(_twice(found))
        elif isinstance(found, list | tuple | set | frozenset | deque):
            inner = found
        elif isinstance(found, BaseModel) or is_dataclass(found):
            inner = [*vars(found).values()] if hasattr(found, "__dict__") else ()
        waiting += [item for item in inner if type(item) not in _LEAVES]


def _twice(found: dict[Any, Any]) -> str:
    seen: dict[str, Any] = {}
    for key in found:
        [name] = to_jsonable_python({key: None}, fallback=_converted)
        if name in seen:
            return f"the keys {seen[name]!r:.100} and {key!r:.100} are one name in JSON"
        seen[name] = key
    return "two keys are one name in JSON"
