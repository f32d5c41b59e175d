"""The client's requests, each as plain data."""

import math
import re
import threading
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from raytasks.client.api_errors import BadArgument
from raytasks.client.bodies import encode_body, given, submission_body
from raytasks.client.documents import BulkFilters, LogQuery, PageQuery, SubmissionDocument
from raytasks.model.bounds import (
    MAX_IN_BATCH,
    MAX_KEY,
    MAX_WAIT_SECONDS,
    NAMESPACE,
    is_idempotency_key,
)
from raytasks.model.trace_context import headers_of, present_context

DEFAULT_URL = "http://127.0.0.1:8000"

_JSON = "application/json"
_REPEATABLE = ("GET", "PUT", "DELETE")
_KEY_HEADER = "Idempotency-Key"

MATCH_HEADER = "If-Match"
"""The header with the revision that a change is for. It makes the request safe to repeat."""

_NAMESPACE = re.compile(NAMESPACE)


@dataclass(frozen=True)
class Call:
    """One request. `wait_seconds` is how long the service may wait on purpose before it answers.

    Its answer is waited for at most `max_seconds`, whatever the client's timeout is. A `harmless`
    request changes nothing, whatever its method.
    """

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0
    max_seconds: float = math.inf
    accepts: tuple[int, ...] = ()
    harmless: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether the call may be sent again if it may have arrived already."""
        repeats = not self.headers.keys().isdisjoint((_KEY_HEADER, MATCH_HEADER))
        return self.harmless or self.method in _REPEATABLE or repeats

    def request(self, timeout: httpx.Timeout | float) -> dict[str, Any]:
        """Return the call as arguments of httpx.

        Raises `BadArgument` for values that JSON cannot hold.
        """
        content = None if self.body is None else encode_body(self.body)
        return {
            "method": self.method,
            "url": self.path,
            "params": dict(self.params),
            "content": content,
            "headers": {**self.headers, **({"Content-Type": _JSON} if content else {})},
            "timeout": timeout,
        }


def checked_url(url: str) -> str:
    """Return the URL of a service without a trailing slash. Raises `BadArgument`."""
    if not (isinstance(url, str) and _is_service_url(url)):
        raise BadArgument(f"{url!r} is not the URL of a service, such as {DEFAULT_URL}")
    return url.rstrip("/")


def _is_service_url(url: str) -> bool:
    """Return whether a URL names a host and a port to which a connection can be tried."""
    try:
        parsed = httpx.URL(url)
        parsed.raw_host.decode().encode("idna")  # as the look-up of its address does
        named = parsed.scheme in ("http", "https") and bool(parsed.host)
    except (httpx.InvalidURL, UnicodeError):
        return False
    return named and (parsed.port is None or 0 < parsed.port < 65536)


def checked_timeout(seconds: float) -> float:
    """Return how long an answer may take, in seconds. Raises `BadArgument`."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not (is_number and 0 < seconds < threading.TIMEOUT_MAX):
        raise BadArgument(f"the timeout_seconds is {seconds!r}: give a number of seconds above 0")
    return seconds


def checked_namespace(namespace: str) -> str:
    """Return the name of a namespace. Raises `BadArgument`."""
    if not _NAMESPACE.fullmatch(namespace):
        raise BadArgument(
            f"{namespace!r} is not the name of a namespace: use 1 to 63 small letters, digits and "
            "dashes, no dash first"
        )
    return namespace


def checked_api_key(api_key: str) -> str:
    """Return an API key that can be sent. Raises `BadArgument`, which does not show the key."""
    if not _is_plain(api_key):
        raise BadArgument(
            "the API key is not one: use the printable ASCII characters that you were given, "
            "without spaces or line ends"
        )
    return api_key


def task_path(task_id: str) -> str:
    """Return the path of a task, with any id. Raises `BadArgument` for an empty one."""
    return f"/tasks/{_segment(task_id, 'the task id')}"


def get_call(task_id: str, wait_seconds: float) -> Call:
    """Return the request for one task. Its wait is at most the API's maximum.

    Raises `BadArgument`.
    """
    if math.isnan(wait_seconds):
        raise BadArgument("the wait_seconds are nan: give a number of seconds")
    wait = min(max(wait_seconds, 0.0), MAX_WAIT_SECONDS)
    return Call("GET", task_path(task_id), {"wait": wait} if wait else {}, wait_seconds=wait)


def stack_call(task_id: str) -> Call:
    """Return the request for the stack of a running attempt."""
    return Call("GET", f"{task_path(task_id)}/stack")


def submit_call(submission: SubmissionDocument, idempotency_key: str | None) -> Call:
    """Return the request that submits one task, with a key of its own if none is given."""
    headers = {_KEY_HEADER: _key(idempotency_key), **headers_of(present_context())}
    return Call("POST", "/tasks/", body=submission_body(submission), headers=headers)


def submit_many_call(
    submissions: Sequence[SubmissionDocument], idempotency_key: str | None
) -> Call:
    """Return the request that submits many tasks, all or none. Raises `BadArgument`."""
    if not 1 <= len(submissions) <= MAX_IN_BATCH:
        raise BadArgument(
            f"{len(submissions)} tasks are no batch: submit 1 to {MAX_IN_BATCH} at once"
        )
    body = {"tasks": [submission_body(item) for item in submissions]}
    headers = {_KEY_HEADER: _key(idempotency_key), **headers_of(present_context())}
    return Call("POST", "/tasks/batch", body=body, headers=headers)


def list_call(query: PageQuery) -> Call:
    """Return the request for one page of tasks."""
    return Call("GET", "/tasks/", _filters(query))


def events_call(
    task_id: str,
    types: Sequence[str] | None = None,
    level: str | None = None,
    logs: bool | None = None,
    *,
    follow: bool = True,
) -> Call:
    """Return the request for the events of a task."""
    kinds = types if types is None or isinstance(types, str) else list(types)
    _check_list("types", kinds)
    params = given({"type": kinds, "level": level, "logs": logs}) | (
        {} if follow else {"follow": "false"}
    )
    return Call("GET", f"{task_path(task_id)}/events", params)


def logs_call(query: LogQuery) -> Call:
    """Return the request for the service's log."""
    params = given(query)
    if "level" in params:
        params["level"] = params["level"].upper()
    return Call("GET", "/logs", params)


def all_events_call(task_type: str | Sequence[str] | None, tag: str | None) -> Call:
    """Return the request for the changes of state of all tasks."""
    return Call("GET", "/tasks/events", _filters({"task_type": task_type, "tag": tag}))


def bulk_call(action: str, filters: BulkFilters, *, dry_run: bool) -> Call:
    """Return the request for an operation on many tasks. With `dry_run` it only counts them.

    It has a key of its own, so that it can be sent again.
    """
    body = {"action": action, **_filters(filters), "dry_run": dry_run}
    headers = {} if dry_run else {_KEY_HEADER: _key(None)}
    return Call("POST", "/bulk", body=body, headers=headers, harmless=dry_run)


def bulk_state_call(bulk_id: str) -> Call:
    """Return the request for an operation on many tasks."""
    return Call("GET", f"/bulk/{_segment(bulk_id, 'the id of the bulk operation')}")


def artifact_call(task_id: str, name: str) -> Call:
    """Return the request for a file of a task."""
    task, file = _segment(task_id, "the task id"), _segment(name, "the artifact's name")
    return Call("GET", f"/artifacts/{task}/{file}")


def checked_event_id(event_id: str) -> str:
    """Return the id of an event, to go on after it. Raises `BadArgument`."""
    if not _is_plain(event_id):
        raise BadArgument(f"{event_id!r} is not the id of an event, such as 3.0")
    return event_id


def _filters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the filters that are given. Raises `BadArgument` for an empty list."""
    for name, value in values.items():
        _check_list(name, value)
    return given(values)


def _check_list(name: str, value: object) -> None:
    if isinstance(value, Collection) and not isinstance(value, str) and not value:
        raise BadArgument(f"{name} is an empty list: name at least one, or None for any")


def _key(idempotency_key: str | None) -> str:
    return str(uuid.uuid4()) if idempotency_key is None else checked_key(idempotency_key)


def checked_key(key: str) -> str:
    """Return an idempotency key. Raises `BadArgument`."""
    if not is_idempotency_key(key):
        raise BadArgument(
            f"{key!r} is not an idempotency key: use 1 to {MAX_KEY} printable ASCII characters, "
            "without a space at either end"
        )
    return key


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and text != "" and " " not in text


def _segment(text: str, what: str) -> str:
    """Return a text as one segment of a path. Raises `BadArgument` if it cannot be one."""
    if text in ("", ".", ".."):
        raise BadArgument(f"{what} is {text!r}" if text else f"{what} is empty")
    return quote(text, safe="", errors="replace")
