"""Request bodies: payloads as JSON, and handlers by the names of their task types."""

import contextlib
import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from raytasks.client.api_errors import BadArgument
from raytasks.client.documents import SubmissionDocument
from raytasks.handling.declaration import task_type_of
from raytasks.model.json_places import name_twice, pointer

_PAYLOAD = "payload"
_FAULTS = (TypeError, ValueError, RecursionError)
_BYTES = (bytes, bytearray, memoryview)


def submission_body(submission: SubmissionDocument) -> dict[str, Any]:
    """Return the JSON object of a submission, without the options that are None.

    A payload that is None is the payload `null`. A submission without a type is sent unchanged: the
    service reports the error. Raises `HandlerError` for a function or class without `@handler`.
    """
    body = given(submission, keep=_PAYLOAD)
    if "task_type" in body:
        body["task_type"] = task_type_of(body["task_type"])
    return body


def given(values: Mapping[str, Any], *, keep: str | None = None) -> dict[str, Any]:
    """Return the values that are not None, and the one that is named `keep`."""
    return {name: value for name, value in values.items() if value is not None or name == keep}


def encode_body(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON. Raises `BadArgument` for what JSON cannot hold, with its place.

    Also takes pydantic models, dataclasses, msgspec structs, dates, UUIDs, enums and the like.
    Fields of pydantic models are written by their aliases, as by `raytasks.submit`.
    """
    try:
        text = _written(body)
    except _FAULTS as error:
        place, reason = _fault(body, error)
        raise BadArgument(f"{place}: cannot be JSON: {reason}") from None
    if not _is_surely_distinct(text) and (found := name_twice(text)):
        place, name = found
        raise BadArgument(f"{place}: cannot be JSON: an object with the name {name[:100]!r} twice")
    return text


def _written(value: Any) -> bytes:
    text = json.dumps(
        value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain
    )
    return text.encode()


def _is_surely_distinct(text: bytes) -> bool:
    """Return whether a text is the same when it was read and written: no name in it gets lost."""
    try:
        return msgspec.json.encode(msgspec.json.decode(text)) == text
    except (ValueError, RecursionError):
        return False


def _fault(body: Mapping[str, Any], error: Exception) -> tuple[str, str]:
    """Return where a body cannot be JSON, as a JSON pointer to the innermost place, and why."""
    place: list[Any] = []
    value: Any = body
    while (inner := _faulty_part(value)) is not None:
        part, value, error = inner
        place.append(part)
        if _is_endless(error) and len(place) == (3 if place[0] == "tasks" else 1):
            break
    return pointer(*place), _reason(value, error)


def _faulty_part(value: Any) -> tuple[Any, Any, Exception] | None:
    """Return the first part of a value that is no JSON by itself: its name or index, it, and why.

    The parts of an object of Python are those of the object that it is written as.
    """
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = value.items()
    elif isinstance(value, list | tuple):
        parts = enumerate(value)
    elif not isinstance(value, str | int | float):
        with contextlib.suppress(*_FAULTS):
            written = _plain(value)
            parts = written.items() if isinstance(written, dict) else enumerate(written)
    for part, item in parts:
        try:
            _written(item)
        except _FAULTS as error:
            return part, item, error
    return None


def _is_endless(error: Exception) -> bool:
    return isinstance(error, RecursionError) or "Circular reference" in str(error)


def _reason(value: Any, error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeEncodeError):
        return "a text has a lone surrogate"
    if "Circular reference" in str(error):
        return "it contains itself"
    if isinstance(value, float):
        return f"{'NaN' if math.isnan(value) else 'Infinity'} is no JSON number"
    return str(error)


def _plain(value: Any) -> Any:
    """Convert a value that JSON does not know to one that it knows. Raises `TypeError`."""
    if isinstance(value, _BYTES):
        raise TypeError("bytes have no form in JSON; encode them, e.g. as Base64")
    if hasattr(type(value), "__pydantic_serializer__"):
        return _model(value)  # also a dataclass of pydantic, whose fields may have aliases
    return msgspec.to_builtins(value, builtin_types=_BYTES, enc_hook=_model)


def _model(value: Any) -> Any:
    """Convert a pydantic model to what JSON can hold. Raises `TypeError` for anything else.

    Raises `ValueError` if it would be an object with a name twice.
    """
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is None:
        raise TypeError(f"a value of type {type(value).__name__} has no form in JSON")
    text = serializer.to_json(value, by_alias=True)
    if not _is_surely_distinct(text) and (found := name_twice(text)):
        place, name = found
        raise ValueError(f"an object with the name {name[:100]!r} twice, at {place}")
    return serializer.to_python(value, mode="json", by_alias=True)
