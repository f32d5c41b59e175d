"""The HTTP client of the API."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx
from pydantic_core import from_json, to_json

from raytasks.models import RaytasksError

MOST_WAIT_SECONDS = 60.0
"""How long one request waits at the service for the end of a task, at the most."""

_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.2
# HAProxy's own troubles reach a client as 500; a 404 without a problem document is its doing too,
# just after it was started again.
_TEMPORARY = frozenset({500, 502, 503, 504})
_PROBLEM = "application/problem+json"


class ApiError(RaytasksError):
    """The service refused a request. `problem` is the problem document (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        lines = [str(problem.get("detail") or problem.get("title") or f"HTTP status {status}")]
        lines += [
            f"  {error['pointer'] or 'the request'}: {error['message']}"
            for error in problem.get("errors", ())
        ]
        super().__init__("\n".join(lines))


class ServiceUnavailable(RaytasksError):
    """The service cannot be reached, or cannot do its work just now."""


class WaitTimeout(RaytasksError):
    """A task has not ended in the time that was given for it. `task` is as it was last."""

    def __init__(self, task: dict[str, Any], seconds: float) -> None:
        super().__init__(f"the task is {task['state']} after {seconds:g} seconds of waiting")
        self.task = task


class Client:
    """A client of the service at `url`. Tasks are returned as the API's JSON objects.

    Requests that only read are tried again for a few seconds where the service is away for a
    moment. Every method may raise `ApiError` and `ServiceUnavailable`.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", *, timeout_seconds: float = 30) -> None:
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=self.url, timeout=timeout_seconds + MOST_WAIT_SECONDS, trust_env=False
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, task_type: str, payload: Any, **options: Any) -> dict[str, Any]:
        """Submit a task; `options` are those of `POST /tasks/`, None meaning not given.

        Not tried again when the answer is lost: the task may have been accepted.
        """
        given = {name: value for name, value in options.items() if value is not None}
        return self._post("/tasks/", {"task_type": task_type, "payload": payload, **given})

    def get(self, task_id: str, *, wait_seconds: float = 0) -> dict[str, Any]:
        """Return a task, with `wait_seconds` (at most 60) as soon as it has ended."""
        return self._get(f"/tasks/{task_id}", {"wait": min(wait_seconds, MOST_WAIT_SECONDS)})

    def wait(self, task_id: str, *, timeout_seconds: float | None = None) -> dict[str, Any]:
        """Return a task when it has ended. Raises `WaitTimeout` after `timeout_seconds`."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            left = MOST_WAIT_SECONDS if deadline is None else max(0, deadline - time.monotonic())
            task = self.get(task_id, wait_seconds=left)
            if task["finished_at"] is not None:
                return task
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(task, timeout_seconds or 0)

    def list(self, **filters: Any) -> dict[str, Any]:
        """Return a page of tasks, newest first: `limit`, `offset`, `state`, `task_type`."""
        return self._get("/tasks/", {k: v for k, v in filters.items() if v is not None})

    def retry(self, task_id: str) -> dict[str, Any]:
        """Run a FAILED or CANCELLED task again."""
        return self._post(f"/tasks/{task_id}/retry", None)

    def cancel(self, task_id: str) -> dict[str, Any]:
        """Cancel a task."""
        return self._post(f"/tasks/{task_id}/cancel", None)

    def task_types(self) -> dict[str, Any]:
        """Return the task types with their schemas."""
        return self._get("/task-types", {})

    def health(self) -> dict[str, Any]:
        """Return how the service is, also where that is not well."""
        return self._read(self._send("GET", "/health"), also=(503,))

    def _get(self, path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        pause = _FIRST_PAUSE_SECONDS
        for _ in range(_TRIES - 1):
            try:
                answer = self._send("GET", path, params=params)
            except ServiceUnavailable:
                pass
            else:
                if not _is_temporary(answer):
                    return self._read(answer)
            time.sleep(pause)
            pause *= 2
        return self._read(self._send("GET", path, params=params))

    def _post(self, path: str, body: Any) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        content = None if body is None else to_json(body)
        return self._read(self._send("POST", path, content=content, headers=headers))

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **arguments)
        except httpx.ConnectError:
            raise ServiceUnavailable(
                f"no raytasks service answers at {self.url}; start one with 'raytasks up', "
                "or name another with --url"
            ) from None
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"{self.url}: {type(error).__name__}: {error}") from None
        except httpx.InvalidURL as error:
            raise ServiceUnavailable(f"{self.url} is not a URL: {error}") from None

    def _read(self, answer: httpx.Response, also: tuple[int, ...] = ()) -> dict[str, Any]:
        if answer.is_success or answer.status_code in also:
            try:
                value: dict[str, Any] = from_json(answer.content)
            except ValueError:
                raise ServiceUnavailable(f"{self.url} does not answer as raytasks does") from None
            return value
        if _is_temporary(answer):
            raise ServiceUnavailable(f"the service is away: HTTP status {answer.status_code}")
        if not answer.headers.get("content-type", "").startswith(_PROBLEM):
            raise ApiError(answer.status_code, {"detail": answer.text[:300]})
        raise ApiError(answer.status_code, from_json(answer.content))


def _is_temporary(answer: httpx.Response) -> bool:
    is_problem = answer.headers.get("content-type", "").startswith(_PROBLEM)
    return answer.status_code in _TEMPORARY or (answer.status_code == 404 and not is_problem)
