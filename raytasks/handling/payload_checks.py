"""The check of a payload by its handler's model.

User code may run in it, so its errors are caught.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

_MESSAGE_LENGTH = 500

Detail = tuple[tuple[str | int, ...], str]
"""A place in the payload (keys and indexes, from the outside), and the error there."""


class PayloadRefused(ValueError):
    """A payload does not fit its model.

    `details` are places and messages, from pydantic or from a validator that failed. The flag
    `failed` is true if the model's code raised an error other than `ValueError`. Then the model has
    a bug, or its author did not expect such a payload.
    """

    def __init__(self, details: Sequence[Detail], *, failed: bool) -> None:
        super().__init__("; ".join(message for _, message in details))
        self.details = tuple(details)
        self.failed = failed


def check_payload(adapter: TypeAdapter[Any], text: bytes) -> None:
    """Check a payload, given as JSON. Raises `PayloadRefused` for every error of the model.

    Only `KeyboardInterrupt` passes: it may come from a person who waits for this process.
    """
    try:
        adapter.validate_json(text)
        return
    except ValidationError as error:
        found = error
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        kind = type(error).__name__
        message = f"a validator of its model failed: {kind}: {_text(error)}".rstrip(": ")
        raise PayloadRefused([((), message)], failed=True) from None
    raise PayloadRefused(_details(found), failed=False)


def runs_user_code(adapter: TypeAdapter[Any]) -> bool:
    """Return whether a check may run code of the model's author, and so take any time.

    Pydantic's own checks take about as long as reading the JSON.
    """
    return _has_code(adapter.core_schema, set())


def _details(error: ValidationError) -> list[Detail]:
    try:
        items: Sequence[ErrorDetails] = error.errors(
            include_url=False, include_context=False, include_input=False
        )
    except Exception as failure:  # a validator's own error has no text
        return [((), f"a validator of its model refused it ({type(failure).__name__})")]
    return [(item["loc"], _clean(item["msg"].removeprefix("Value error, "))) for item in items]


def _text(error: BaseException) -> str:
    try:
        return _clean(str(error))
    except BaseException as failure:
        return f"(its text cannot be had: {type(failure).__name__})"


def _clean(text: str) -> str:
    return text[:_MESSAGE_LENGTH].encode("utf-8", "replace").decode("utf-8")


def _looks_up(kind: type[Enum]) -> bool:
    return kind._missing_.__func__ is not Enum._missing_.__func__  # type: ignore[attr-defined]


def _has_code(schema: Any, seen: set[int]) -> bool:
    if isinstance(schema, Mapping):
        if id(schema) in seen:
            return False
        seen.add(id(schema))
        if schema.get("regex_engine") == "python-re":
            return True  # may backtrack without end
        if schema.get("type") == "enum" and _looks_up(schema["cls"]):
            return True
        return any(
            bool(value) if key in ("post_init", "custom_init") else _has_code(value, seen)
            for key, value in schema.items()
            # Serializers, and pydantic's own metadata, run in no check.
            if key not in ("serialization", "metadata", "cls")
        )
    if isinstance(schema, list | tuple):
        return any(_has_code(item, seen) for item in schema)
    if isinstance(schema, type) or not callable(schema):
        return hasattr(schema, "search")  # a compiled pattern: Python's own engine runs it
    module = getattr(schema, "__module__", None) or ""
    return module.partition(".")[0] not in ("pydantic", "pydantic_core")
