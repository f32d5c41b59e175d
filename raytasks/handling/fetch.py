"""Safe fetching of URLs from strangers: never from inside our own network.

Every connection is guarded: see `raytasks.handling.guarded_connection`. Redirects are followed
here, and each hop is checked again.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from raytasks.handling.guarded_connection import (
    AllowedHosts,
    FetchError,
    check_url,
    guarded_request,
    shown_url,
)
from raytasks.model.retry import PermanentError, RetryAfter

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_DEFAULT_RETRY_AFTER_SECONDS = 30.0
_MAX_RETRY_AFTER_SECONDS = 3600.0
_SETTING = "FETCH_ALLOWED_HOSTS"


@dataclass(frozen=True)
class Fetched:
    """The answer: its body, its content type as the server gave it, and the last URL."""

    content: bytes
    content_type: str | None
    url: str


def fetch(
    url: str,
    *,
    max_bytes: int,
    timeout_seconds: float,
    allowed_hosts: Iterable[str] | None = None,
) -> Fetched:
    """GET an http or https URL with at most 5 redirects, within one total deadline.

    It connects only to public addresses, and to the hosts (`host` or `host:port`) in
    `allowed_hosts`. By default those are the hosts of the setting `FETCH_ALLOWED_HOSTS` (separated
    by commas).

    Raises `PermanentError` for a refused URL or address, for more than `max_bytes` bytes, and for a
    4xx. Raises `RetryAfter` for a 429, and `FetchError` for every error that may pass.
    """
    deadline = time.monotonic() + timeout_seconds
    hosts = (
        hosts_from_environment()
        if allowed_hosts is None
        else AllowedHosts.listed(allowed_hosts, _SETTING)
    )
    target = check_url(url)
    for _ in range(_MAX_REDIRECTS + 1):
        answer = _get(target, max_bytes, deadline, hosts)
        if isinstance(answer, Fetched):
            return answer
        target = check_url(answer)
    raise PermanentError(f"{shown_url(url)}: more than {_MAX_REDIRECTS} redirects")


def hosts_from_environment() -> AllowedHosts:
    """Return the hosts of the setting `FETCH_ALLOWED_HOSTS`."""
    return AllowedHosts.listed(os.environ.get(_SETTING, "").split(","), _SETTING)


def _get(
    target: httpx.URL, max_bytes: int, deadline: float, hosts: AllowedHosts
) -> Fetched | httpx.URL:
    """Make one request. Return the body, or the URL of a redirect."""
    with guarded_request("GET", target, headers=(), deadline=deadline, hosts=hosts) as got:
        answer = httpx.Headers(got.headers)
        if got.status in _REDIRECTS and "location" in answer:
            return _redirected(target, answer["location"])
        _check_status(target, got.status, answer)
        if answer.get("content-encoding", "identity").lower() != "identity":
            raise PermanentError(
                f"{shown_url(target)}: the server compresses, although asked not to"
            )
        body = _read(got.iter_stream(), answer, max_bytes, target)
        return Fetched(body, answer.get("content-type"), str(target))


def _redirected(target: httpx.URL, location: str) -> httpx.URL:
    try:
        return target.join(location)
    except (httpx.InvalidURL, ValueError) as error:
        raise PermanentError(f"{shown_url(target)}: redirected to a bad URL: {error}") from None


def _check_status(target: httpx.URL, status: int, headers: httpx.Headers) -> None:
    if 200 <= status < 300:
        return
    message = f"{shown_url(target)}: the server answered {status}"
    if status == 429:
        raise RetryAfter(retry_after_seconds(headers.get("retry-after")), message)
    if status >= 500:
        raise FetchError(message)
    raise PermanentError(message)


def retry_after_seconds(value: str | None) -> float:
    """Return the seconds that a `Retry-After` header asks for, by a number or a date.

    At most an hour. It is 30 seconds if the header is missing or cannot be parsed.
    """
    try:
        seconds = float(value or "")
    except ValueError:
        try:
            until = parsedate_to_datetime(value or "")
        except ValueError:
            return _DEFAULT_RETRY_AFTER_SECONDS
        # A date with the zone -0000 is parsed without a zone. HTTP dates are all UTC.
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        seconds = (until - datetime.now(UTC)).total_seconds()
    if seconds != seconds:
        return _DEFAULT_RETRY_AFTER_SECONDS
    return min(max(0.0, seconds), _MAX_RETRY_AFTER_SECONDS)


def _read(
    chunks: Iterable[bytes], headers: httpx.Headers, max_bytes: int, target: httpx.URL
) -> bytes:
    too_large = PermanentError(f"{shown_url(target)}: it is larger than {max_bytes} bytes")
    announced = headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large
    body = bytearray()
    for chunk in chunks:
        if len(body) + len(chunk) > max_bytes:
            raise too_large
        body += chunk
    return bytes(body)
