"""The source of an image: an http(s) URL, or a `data:` URL that contains it."""

import base64
import binascii
from urllib.parse import unquote_to_bytes

from raytasks import Context, PermanentError
from raytasks.builtin._settings import number
from raytasks.handling.fetch import fetch
from raytasks.handling.guarded_connection import check_url

_MAX_BYTES = 20_000_000
_FETCH_SECONDS = 30.0


def check_source(url: str) -> str:
    """Return the URL if its form is valid; nothing is fetched. Raises `ValueError`."""
    try:
        if _is_data(url):
            _decode(url)
        else:
            check_url(url)
    except PermanentError as error:
        raise ValueError(str(error)) from None
    return url


def load(url: str, context: Context) -> bytes:
    """Return the bytes behind a URL, at most `IMAGE_MAX_BYTES`.

    Raises what `raytasks.handling.fetch.fetch` raises.
    """
    max_bytes = int(number("IMAGE_MAX_BYTES", _MAX_BYTES))
    if _is_data(url):
        data = _decode(url)
        if len(data) > max_bytes:
            raise PermanentError(f"the image is larger than {max_bytes} bytes")
        return data
    seconds = number("IMAGE_FETCH_SECONDS", _FETCH_SECONDS)
    if context.remaining_seconds is not None:
        seconds = min(seconds, context.remaining_seconds)
    return fetch(url, max_bytes=max_bytes, timeout_seconds=seconds).content


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"


def _decode(url: str) -> bytes:
    header, comma, body = url[5:].partition(",")
    if not comma:
        raise PermanentError("a data: URL needs a comma before its data")
    try:
        data = unquote_to_bytes(body)
    except UnicodeEncodeError:
        raise PermanentError("the data: URL holds half a character") from None
    if header.rpartition(";")[2].strip().lower() == "base64":
        data = b"".join(data.split())
        try:
            data = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
        except binascii.Error as error:
            raise PermanentError(f"the data: URL is not good base64: {error}") from None
    if not data:
        raise PermanentError("the data: URL is empty")
    return data
