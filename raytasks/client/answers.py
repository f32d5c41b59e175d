"""The meaning of the API's answers."""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any

import httpx

from raytasks.client.api_errors import ApiError, ServiceUnavailable, api_error
from raytasks.client.requests import Call
from raytasks.model.tasks import RaytasksError

_PROBLEM = "application/problem+json"
_EVENTS = "text/event-stream"
_TEMPORARY = frozenset({429, 500, 502, 503, 504})
_TEMPORARY_PROBLEMS = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


def is_temporary(call: Call, response: httpx.Response) -> bool:
    """Return whether the same request may soon get a better answer.

    The ingress before the API answers with its own errors while it restarts, also with 404. Those
    are no problem documents. An error of the API itself is permanent, except 429 and 503.
    """
    if response.status_code in call.accepts:
        return False
    if _kind(response) == _PROBLEM:
        return response.status_code in _TEMPORARY_PROBLEMS
    return response.status_code in _TEMPORARY or response.status_code == HTTPStatus.NOT_FOUND


def is_event_stream(response: httpx.Response) -> bool:
    """Return whether the answer is a stream of events."""
    return response.status_code == HTTPStatus.OK and _kind(response) == _EVENTS


def document_of(call: Call, response: httpx.Response, url: str) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises `ApiError`, or `ServiceUnavailable`."""
    document = _document(response)
    if not (response.is_success or response.status_code in call.accepts):
        raise error_of(response, url)
    if document is None:
        raise _another_service(url)
    return document


def content_of(_call: Call, response: httpx.Response, url: str) -> bytes:
    """Return the bytes of an answer. Raises `ApiError`, or `ServiceUnavailable`."""
    if not response.is_success:
        raise error_of(response, url)
    return response.content


def error_of(response: httpx.Response, url: str) -> RaytasksError:
    """Return the error for an answer that is not a success."""
    document = _document(response)
    known = response.is_error and (document is not None or response.status_code in _TEMPORARY)
    if not known:
        return _another_service(url)
    problem = document or {
        "title": response.reason_phrase,
        "detail": "the service cannot answer now",
    }
    error: ApiError = api_error(response.status_code, problem, retry_after(response))
    return error


def retry_after(response: httpx.Response) -> float | None:
    """Return the seconds that an answer asks to wait, from a number or a date; None without one."""
    text = response.headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            date = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def unavailable(url: str, error: httpx.RequestError) -> ServiceUnavailable:
    """Return the error for a request that got no answer."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        text = f"no raytasks service answers at {url}; start one with 'raytasks up'"
    elif isinstance(error, httpx.TimeoutException):
        text = f"the service at {url} did not answer in time"
    else:
        text = f"the connection to {url} broke: {str(error) or type(error).__name__}"
    return ServiceUnavailable(text)


def _another_service(url: str) -> ServiceUnavailable:
    return ServiceUnavailable(f"what answers at {url} is not a raytasks service")


def _document(response: httpx.Response) -> dict[str, Any] | None:
    if _kind(response) not in ("application/json", _PROBLEM):
        return None
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _kind(response: httpx.Response) -> str:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower()
