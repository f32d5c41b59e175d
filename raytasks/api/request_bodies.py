"""Request bodies: their type, their size, and the JSON in them."""

from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from raytasks.api.headers import first_value
from raytasks.api.problems import Problem
from raytasks.api.request_bounds import check_depth, too_deep
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.strict_json import NameTwice, parse_json


async def read_json(
    scope: Scope,
    receive: Receive,
    max_bytes: int,
    max_depth: int,
    setting: str = "RAYTASKS_MAX_PAYLOAD_BYTES",
) -> Any:
    """Return the JSON value of a request's body.

    Raises `Problem` 400, 413 or 415, and `InvalidSubmission` if an object has a name twice.

    The name of the setting behind `max_bytes` is `setting`.

    A body that is too long is refused before it is read whole. A body that is nested too deeply is
    refused before any recursive code reads it.
    """
    content_type = first_value(scope, b"content-type") or ""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "send JSON, with the header Content-Type: application/json",
        )
    length = first_value(scope, b"content-length") or ""
    if length.isdigit() and int(length) > max_bytes:
        raise _too_big(max_bytes, setting)
    body = await _read(receive, max_bytes, setting)
    try:
        value = parse_json(body)
    except NameTwice as error:
        message = f"{error.reason}: one of the two values would get lost"
        raise InvalidSubmission(
            "the request is not valid", [FieldError(error.pointer, message)]
        ) from None
    except ValueError as error:
        if "recursion limit" in str(error):  # the parser's own limit, which is higher than ours
            raise too_deep(max_depth) from None
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is not valid JSON: {error}") from None
    if body.count(b"[") + body.count(b"{") > max_depth:
        check_depth(value, max_depth)
    return value


async def _read(receive: Receive, max_bytes: int, setting: str) -> bytes:
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        more = message.get("more_body", False)
        size += len(chunk)
        if size > max_bytes:
            raise _too_big(max_bytes, setting)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_big(max_bytes: int, setting: str) -> Problem:
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is over {max_bytes} bytes ({setting})",
    )
