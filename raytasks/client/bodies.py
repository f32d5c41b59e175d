"""Request bodies: payloads as JSON, and handlers by the names of their task types."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from raytasks.client.api_errors import BadArgument
from raytasks.client.documents import SubmissionDocument
from raytasks.handling.declaration import task_type_of

_PAYLOAD = "payload"
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
    """Return a body as JSON. Raises `BadArgument` for what JSON cannot hold.

    Also takes pydantic models, dataclasses, msgspec structs, dates, UUIDs, enums and the like.
    Fields of pydantic models are written by their aliases, as by `raytasks.submit`.
    """
    try:
        text = json.dumps(
            body, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=_plain
        )
        return text.encode()
    except RecursionError:
        raise BadArgument("the payload cannot be JSON: it is nested too deeply") from None
    except UnicodeEncodeError:
        raise BadArgument("the payload cannot be JSON: a text has a lone surrogate") from None
    except (TypeError, ValueError) as error:
        raise BadArgument(f"the payload cannot be JSON: {error}") from None


def _plain(value: Any) -> Any:
    """Convert a value that JSON does not know to one that it knows. Raises `TypeError`."""
    if isinstance(value, _BYTES):
        raise TypeError("bytes have no form in JSON; encode them, e.g. as Base64")
    if hasattr(type(value), "__pydantic_serializer__"):
        return _model(value)  # also a dataclass of pydantic, whose fields may have aliases
    return msgspec.to_builtins(value, builtin_types=_BYTES, str_keys=True, enc_hook=_model)


def _model(value: Any) -> Any:
    """Convert a pydantic model to what JSON can hold. Raises `TypeError` for anything else."""
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is None:
        raise TypeError(f"a value of type {type(value).__name__} has no form in JSON")
    return serializer.to_python(value, mode="json", by_alias=True)
