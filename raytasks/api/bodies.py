"""Request bodies: their type, their size, and the JSON in them."""

from http import HTTPStatus
from typing import Any

from starlette.requests import Request

from raytasks.api.limits import check_depth, too_deep
from raytasks.api.problems import Problem
from raytasks.submission import parse_json


async def read_json(request: Request, max_bytes: int, max_depth: int) -> Any:
    """Return the JSON value of the body. Raises `Problem` 400, 413 or 415.

    A body that is too long is refused before it is read whole, and one that is nested too deeply
    before anything looks into it that calls itself.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "send JSON, with the header Content-Type: application/json",
        )
    too_big = Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the body is over {max_bytes} bytes (MAX_PAYLOAD_BYTES)",
    )
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise too_big
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise too_big
    try:
        value = parse_json(bytes(body))
    except ValueError as error:
        if "recursion limit" in str(error):  # the parser's own, which is higher than ours
            raise too_deep(max_depth) from None
        raise Problem(HTTPStatus.BAD_REQUEST, f"the body is not valid JSON: {error}") from None
    if body.count(b"[") + body.count(b"{") > max_depth:
        check_depth(value, max_depth)
    return value
