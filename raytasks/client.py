"""The HTTP client: what a program calls that is not on the Ray cluster itself.

What is asked and what the answers mean is in plain functions; the client only carries it.
"""

import math
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx

from raytasks.models import RaytasksError
from raytasks.states import State

DEFAULT_URL = "http://127.0.0.1:8000"

MOST_WAIT_SECONDS = 60.0
"""How long one request may wait for the end of a task."""

RETRY_DELAYS = (0.1, 0.3, 1.0)
"""The pauses, in seconds, before a request that changes nothing twice is sent again."""

_KEY_HEADER = "Idempotency-Key"
_PROBLEM = "application/problem+json"
_TEMPORARY = frozenset({500, 502, 503, 504})


class ApiError(RaytasksError):
    """The API answered with an error. `problem` is its problem document (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(status, problem)
        self.status = status
        self.problem = problem

    def __str__(self) -> str:
        title, detail = self.problem.get("title") or self.status, self.problem.get("detail")
        lines = [f"{title}: {detail}" if detail else str(title)]
        for error in self.problem.get("errors") or ():
            where = error.get("pointer") or "the request"
            lines.append(f"  {where}: {error.get('message')}")
        return "\n".join(lines)


class ServiceUnavailable(RaytasksError):
    """No raytasks service answers at the URL, or not in time."""


class WaitTimeout(RaytasksError):
    """A task had not ended when the time to wait for it was up. `task` is how it was then."""

    def __init__(self, task: Mapping[str, Any], seconds: float) -> None:
        super().__init__(task, seconds)
        self.task = task
        self.seconds = seconds

    def __str__(self) -> str:
        state = self.task.get("state")
        return f"task {self.task.get('task_id')} is still {state} after {self.seconds:g} seconds"


@dataclass(frozen=True)
class Call:
    """One request. `wait_seconds` is how long its answer may take on purpose."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_seconds: float = 0.0
    accepts: tuple[int, ...] = ()

    @property
    def repeatable(self) -> bool:
        """Whether it may be sent again where it is not known if it arrived."""
        return self.method == "GET" or _KEY_HEADER in self.headers


class Client:
    """A client of the raytasks service at `url`. Use it as a context manager, or close it.

    `timeout_seconds` is for each request, what it waits on purpose not counted. Tasks and pages
    are the API's JSON documents. Every method raises `ApiError` when the API answers with an
    error, and `ServiceUnavailable` when nothing does. Submissions, and requests that only read,
    are tried again a few times before that.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        timeout_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = checked_url(url)
        self._timeout = timeout_seconds
        self._http = httpx.Client(base_url=self.url, transport=transport, trust_env=False)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(
        self, task_type: str, payload: Any, *, idempotency_key: str | None = None, **options: Any
    ) -> dict[str, Any]:
        """Submit a task, and return it; it is on disk then.

        Of all submissions with one `idempotency_key` only the first makes a task. Without one,
        this submission gets a key of its own, so that trying it again does not double the task.
        `options` are those of `POST /tasks/`: `priority`, `max_attempts`, `timeout_seconds`,
        `delay_seconds` or `run_at`; one that is None is left out.
        """
        given = {name: value for name, value in options.items() if value is not None}
        body = {"task_type": task_type, "payload": payload, **given}
        headers = {_KEY_HEADER: idempotency_key or str(uuid.uuid4())}
        return self._send(Call("POST", "/tasks/", body=body, headers=headers))

    def get(self, task_id: str, *, wait_seconds: float = 0.0) -> dict[str, Any]:
        """Return a task with its attempts: at once, or when it has ended, or after the wait."""
        return self._send(get_call(task_id, wait_seconds))

    def wait(self, task_id: str, *, timeout_seconds: float | None = None) -> dict[str, Any]:
        """Wait until a task has ended, and return it. Raises `WaitTimeout`."""
        seconds = math.inf if timeout_seconds is None else timeout_seconds
        deadline = time.monotonic() + seconds
        while True:
            task = self.get(task_id, wait_seconds=deadline - time.monotonic())
            if State(task["state"]).final:
                return task
            if time.monotonic() >= deadline:
                raise WaitTimeout(task, seconds)

    def list(self, **filters: Any) -> dict[str, Any]:
        """Return one page of the tasks, newest first: `{tasks, total, limit, offset}`.

        `filters` are those of `GET /tasks/`: `limit`, `offset`, `state`, `task_type`.
        """
        given = {name: value for name, value in filters.items() if value is not None}
        return self._send(Call("GET", "/tasks/", given))

    def retry(self, task_id: str) -> dict[str, Any]:
        """Run a FAILED or CANCELLED task again, and return it."""
        return self._send(Call("POST", f"{task_path(task_id)}/retry"))

    def cancel(self, task_id: str) -> dict[str, Any]:
        """Cancel a task, and return it; one that runs may take a moment to stop."""
        return self._send(Call("POST", f"{task_path(task_id)}/cancel"))

    def task_types(self) -> dict[str, Any]:
        """Return the task types, with the schemas of their payloads."""
        return self._send(Call("GET", "/task-types"))

    def health(self) -> dict[str, Any]:
        """Return how the service is; `status` is `ok` or `degraded`."""
        return self._send(Call("GET", "/health", accepts=(503,)))

    def _send(self, call: Call) -> dict[str, Any]:
        delays = list(RETRY_DELAYS) if call.repeatable else []
        while True:
            try:
                response = self._http.request(
                    call.method,
                    call.path,
                    params=call.params,
                    json=call.body,
                    headers=dict(call.headers),
                    timeout=self._timeout + call.wait_seconds,
                )
            except httpx.RequestError as error:
                if isinstance(error, httpx.TimeoutException) or not delays:
                    raise ServiceUnavailable(unavailable_text(self.url, error)) from error
            else:
                if not (delays and is_temporary(call, response)):
                    return answer_of(call, response, self.url)
            time.sleep(delays.pop(0))


def checked_url(url: str) -> str:
    """Return the URL of a service without its last slash. Raises `ValueError`."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url!r} is not the URL of a service, such as {DEFAULT_URL}")
    return url.rstrip("/")


def task_path(task_id: str) -> str:
    """Return the path of a task, whatever is in the id. Raises `ValueError` for an empty one."""
    if not task_id:
        raise ValueError("the task id is empty")
    return f"/tasks/{quote(task_id, safe='', errors='replace')}"


def get_call(task_id: str, wait_seconds: float) -> Call:
    """Return the request for one task; the API waits as long as it allows, at the most."""
    wait = min(max(wait_seconds, 0.0), MOST_WAIT_SECONDS)
    return Call("GET", task_path(task_id), {"wait": wait} if wait else {}, wait_seconds=wait)


def is_temporary(call: Call, response: httpx.Response) -> bool:
    """Return whether the same request may well be answered otherwise in a moment.

    The ingress in front of the API answers errors of its own while it starts again, also 404;
    those are no problem documents. An error of the API itself, 503 apart, will stay.
    """
    if response.status_code in call.accepts:
        return False
    if _kind(response) == _PROBLEM:
        return response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    return response.status_code in _TEMPORARY or response.status_code == HTTPStatus.NOT_FOUND


def answer_of(call: Call, response: httpx.Response, url: str) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises `ApiError`, or `ServiceUnavailable`."""
    good = response.is_success or response.status_code in call.accepts
    document: Any = None
    if _kind(response) in ("application/json", _PROBLEM):
        try:
            document = response.json()
        except ValueError:
            document = None
    if good and isinstance(document, dict):
        return document
    if good or (document is None and response.status_code not in _TEMPORARY):
        raise ServiceUnavailable(f"what answers at {url} is not a raytasks service")
    if not isinstance(document, dict):
        document = {"title": response.reason_phrase, "detail": "the service cannot answer now"}
    raise ApiError(response.status_code, document)


def unavailable_text(url: str, error: httpx.RequestError) -> str:
    """Return what to tell about a request that got no answer."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"no raytasks service answers at {url}; start one with 'raytasks up'"
    if isinstance(error, httpx.TimeoutException):
        return f"the service at {url} did not answer in time"
    return f"the connection to {url} broke: {str(error) or type(error).__name__}"


def _kind(response: httpx.Response) -> str:
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower()
