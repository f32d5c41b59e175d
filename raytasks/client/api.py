"""The client without input and output: each operation as steps, which a caller carries out.

An operation is a generator. For a `Call` that it yields, it gets the answer, or the error that
prevented one. For a `Rest` that it yields, it is resumed after that time. Its return value is the
result.
"""

import os
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import httpx

from raytasks.client import requests as calls
from raytasks.client.answers import content_of, document_of, is_temporary, retry_after, unavailable
from raytasks.client.api_errors import task_failed
from raytasks.client.documents import (
    Artifact,
    BulkFilters,
    BulkOperationDocument,
    LogPageDocument,
    LogQuery,
    Matched,
    PageDocument,
    PageQuery,
    StackDocument,
    SubmissionDocument,
    SubmittedDocument,
    TaskDocument,
)
from raytasks.client.inspection_steps import InspectionSteps
from raytasks.client.requests import Call, checked_timeout
from raytasks.client.steps import Answer, Rest, Steps
from raytasks.client.waits import BoundedWait, checked_wait
from raytasks.handling.attempt_waits import waiting_for
from raytasks.model.states import State

RETRY_DELAYS = (0.1, 0.3, 1.0)
"""The pauses, in seconds, before a repeatable request is sent again."""

PATIENCE_SECONDS = 120.0
"""How long an outage of a service that has answered before is waited for, in seconds."""

MAX_RETRY_AFTER_SECONDS = 30.0
"""An answer that asks to wait longer than this, in seconds, is an error at once."""

SILENCE_SECONDS = 30.0
"""A stream that is silent for this long is dead: the service sends something every 10 seconds."""

DUPLICATE_HEADER = "Raytasks-Duplicate"
"""The header of an answer to a submission: `true` if its task is the holder of the unique key."""

_MAX_PAUSE = 5.0
_BULK_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)


class Api(InspectionSteps):
    """The operations of the service at `url`. A client only carries out their steps.

    Without `api_key`, the one in `RAYTASKS_API_KEY` is used, if it is set. The `clock`, in seconds,
    is that of waits. In the test kit it is not the time in which answers come.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float,
        api_key: str | None,
        namespace: str | None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.url = calls.checked_url(url)
        self._timeout = checked_timeout(timeout_seconds)
        self._clock = clock or _monotonic
        self._is_timed = clock is None
        self._headers: dict[str, str] = {}
        self._params: dict[str, str] = {}
        if key := (os.environ.get("RAYTASKS_API_KEY") if api_key is None else api_key):
            self._headers["Authorization"] = f"Bearer {calls.checked_api_key(key)}"
        if namespace is not None:
            self._params["namespace"] = calls.checked_namespace(namespace)

    def http_options(self) -> dict[str, Any]:
        """Return the arguments for an httpx client: the parts that all requests share."""
        return {
            "base_url": self.url,
            "headers": self._headers,
            "params": self._params,
            "limits": httpx.Limits(),  # no limit on concurrent streams and waits
            "trust_env": False,
        }

    def request(self, call: Call) -> dict[str, Any]:
        """Return a call as the arguments of httpx."""
        timeout = self._timeout + call.wait_seconds
        return call.request(min(timeout, call.max_seconds) if self._is_timed else timeout)

    def stream(self, call: Call) -> dict[str, Any]:
        """Return a call whose answer is a stream as the arguments of httpx."""
        return call.request(httpx.Timeout(self._timeout, read=SILENCE_SECONDS))

    def submit(
        self, submission: SubmissionDocument, idempotency_key: str | None
    ) -> Steps[SubmittedDocument]:
        """Submit a task."""
        call = calls.submit_call(submission, idempotency_key)
        response = yield from self._exchange(call)
        task = cast("SubmittedDocument", document_of(call, response, self.url))
        task["duplicate"] = response.headers.get(DUPLICATE_HEADER) == "true"
        return task

    def submit_many(
        self, submissions: Sequence[SubmissionDocument], idempotency_key: str | None
    ) -> Steps[list[SubmittedDocument]]:
        """Submit many tasks."""
        answer = yield from self._ask(calls.submit_many_call(submissions, idempotency_key))
        tasks: list[SubmittedDocument] = answer["tasks"]
        duplicates = set(answer.get("duplicates", ()))  # an older service has none
        for place, task in enumerate(tasks):
            task["duplicate"] = place in duplicates
        return tasks

    def get(self, task_id: str, wait_seconds: float) -> Steps[TaskDocument]:
        """Look at a task."""
        return self._ask(calls.get_call(task_id, wait_seconds))

    def wait(self, task_id: str, timeout_seconds: float | None) -> Steps[TaskDocument]:
        """Poll a task until it has ended; wait through a short outage of the service."""
        wait = BoundedWait({"task_id": task_id}, timeout_seconds, self._clock)
        with waiting_for(task_id):
            while True:
                look = self._look(wait, lambda: calls.get_call(task_id, wait.left))
                task: TaskDocument = yield from look
                if State(task["state"]).final:
                    return task
                wait.check()

    def run(
        self,
        submission: SubmissionDocument,
        idempotency_key: str | None,
        timeout_seconds: float | None,
    ) -> Steps[TaskDocument]:
        """Submit a task, and wait until it has completed."""
        checked_wait(timeout_seconds)
        submitted = yield from self.submit(submission, idempotency_key)
        task = yield from self.wait(submitted["task_id"], timeout_seconds)
        if task["state"] != State.COMPLETED:
            raise task_failed(task)
        return task

    def page(self, query: PageQuery) -> Steps[PageDocument]:
        """Get one page of tasks."""
        return self._ask(calls.list_call(query))

    def cancel(self, task_id: str, message: str | None) -> Steps[TaskDocument]:
        """Cancel a task."""
        params = {} if message is None else {"message": message}
        return self._ask(Call("POST", f"{calls.task_path(task_id)}/cancel", params))

    def stack(self, task_id: str) -> Steps[StackDocument]:
        """Get the stack of a running attempt."""
        return self._ask(calls.stack_call(task_id))

    def bulk_start(self, action: str, filters: BulkFilters) -> Steps[BulkOperationDocument]:
        """Start an operation on many tasks."""
        return self._ask(calls.bulk_call(action, filters, dry_run=False))

    def bulk_count(self, action: str, filters: BulkFilters) -> Steps[Matched]:
        """Count the tasks that an operation would look at."""
        return self._ask(calls.bulk_call(action, filters, dry_run=True))

    def bulk(self, bulk_id: str) -> Steps[BulkOperationDocument]:
        """Look at an operation."""
        return self._ask(calls.bulk_state_call(bulk_id))

    def bulks(self) -> Steps[list[BulkOperationDocument]]:
        """Look at the newest operations."""
        return self._part(Call("GET", "/bulk"), "operations")

    def bulk_wait(
        self,
        bulk_id: str,
        timeout_seconds: float | None,
        told: Callable[[BulkOperationDocument], None] | None,
    ) -> Steps[BulkOperationDocument]:
        """Poll an operation until it is done, and report it to `told` each time."""
        wait, looks = BoundedWait({"bulk_id": bulk_id}, timeout_seconds, self._clock), 0
        while True:
            look = self._look(wait, lambda: calls.bulk_state_call(bulk_id))
            operation: BulkOperationDocument = yield from look
            if told is not None:
                told(operation)
            if operation["state"] == "DONE":
                return operation
            wait.check()
            yield Rest(min(_BULK_PAUSES[min(looks, len(_BULK_PAUSES) - 1)], wait.left))
            looks += 1

    def log_page(self, query: LogQuery) -> Steps[LogPageDocument]:
        """Get a page of the service's log."""
        return self._ask(calls.logs_call(query))

    def artifacts(self, task_id: str) -> Steps[list[Artifact]]:
        """List the files of a task."""
        return self._part(Call("GET", f"{calls.task_path(task_id)}/artifacts"), "artifacts")

    def artifact(self, task_id: str, name: str) -> Steps[bytes]:
        """Get a file of a task."""
        call = calls.artifact_call(task_id, name)
        response = yield from self._exchange(call)
        return content_of(call, response, self.url)

    def ask(self, call: Call) -> Steps[Any]:
        """Make a request, and get its document."""
        return self._ask(call)

    def part(self, call: Call, name: str) -> Steps[Any]:
        """Make a request, and get one member of its document."""
        return self._part(call, name)

    def _ask(self, call: Call) -> Steps[Any]:
        response = yield from self._exchange(call)
        return document_of(call, response, self.url)

    def _look(self, wait: BoundedWait, ask: Callable[[], Call]) -> Steps[Any]:
        """Get the document that is waited for, through a short outage if it was seen before.

        `ask` returns the request of a try. Raises `WaitTimeout` where the service gave no answer of
        use in time.
        """
        began, tries = time.monotonic(), 0
        while True:
            call = wait.bounded(ask())
            answer: Answer = yield call
            assert answer is not None
            left = began + PATIENCE_SECONDS - time.monotonic() if wait.answered else 0.0
            pause = pause_before_next(call, answer, tries, min(left, wait.left))
            if pause is None:
                break
            wait.check_answer(call, answer, self.url)
            yield Rest(min(pause, wait.left))
            tries += 1
        wait.check_answer(call, answer, self.url)
        if isinstance(answer, httpx.RequestError):
            raise unavailable(self.url, answer) from answer
        document = document_of(call, answer, self.url)
        wait.saw(document)
        return document

    def _part(self, call: Call, name: str) -> Steps[Any]:
        document = yield from self._ask(call)
        return document[name]

    def _exchange(self, call: Call) -> Steps[httpx.Response]:
        """Send a request until it gets a permanent answer, or is given up."""
        answer, _ = yield from self.exchange(call)
        return answer

    def exchange(self, call: Call) -> Steps[tuple[httpx.Response, int]]:
        """Do as `_exchange`; get the answer, and how often the request was sent again."""
        tries = 0
        while True:
            answer: Answer = yield call
            assert answer is not None
            pause = pause_before_next(call, answer, tries, 0.0)
            if pause is None:
                break
            yield Rest(pause)
            tries += 1
        if isinstance(answer, httpx.RequestError):
            raise unavailable(self.url, answer) from answer
        return answer, tries


def _monotonic() -> float:
    return time.monotonic()


def pause_before_next(
    call: Call, answer: httpx.Response | httpx.RequestError, tries: int, patience: float
) -> float | None:
    """Return how long to wait before a call is sent again; None if it must not be sent again.

    `tries` is how often it was repeated already. With `patience`, in seconds, it is repeated for
    that long beyond the usual tries.
    """
    asked = None
    if isinstance(answer, httpx.Response):
        refused = answer.status_code == httpx.codes.TOO_MANY_REQUESTS  # nothing was done yet
        if not (is_temporary(call, answer) and (call.repeatable or refused)):
            return None
        asked = retry_after(answer)
    elif not call.repeatable or (isinstance(answer, httpx.TimeoutException) and patience <= 0):
        return None
    if tries < len(RETRY_DELAYS):
        pause = RETRY_DELAYS[tries]
    elif patience > 0:
        pause = min(2.0 ** (tries - len(RETRY_DELAYS)), _MAX_PAUSE, patience)
    else:
        return None
    if asked is None:
        return pause
    return max(pause, asked) if asked <= MAX_RETRY_AFTER_SECONDS else None
