"""The client for plain code: each call blocks until it has its answer."""

import time
from collections.abc import Callable, Generator, Sequence
from types import TracebackType
from typing import Literal, TypeAlias, TypeVar, Unpack, overload

import httpx
from httpx_sse import EventSource

from raytasks.client import requests as calls
from raytasks.client.answers import is_event_stream
from raytasks.client.api import Api
from raytasks.client.change_calls import Changes
from raytasks.client.control_calls import Control
from raytasks.client.documents import (
    Artifact,
    BulkFilters,
    BulkOperationDocument,
    LogQuery,
    Matched,
    PageDocument,
    PageQuery,
    StackDocument,
    SubmissionDocument,
    SubmitOptions,
    SubmittedDocument,
    TaskDocument,
    TaskFilters,
)
from raytasks.client.event_stream import (
    FeedEvent,
    Follower,
    ServiceLog,
    TaskEvent,
    feed_follower,
    log_events,
    log_follower,
    task_follower,
)
from raytasks.client.http_connections import HttpConnections
from raytasks.client.paging import first_page, next_log_page, next_page
from raytasks.client.requests import DEFAULT_URL
from raytasks.client.schedule_calls import Schedules
from raytasks.client.service_calls import Inspection
from raytasks.client.steps import Rest, Step, Steps
from raytasks.handling.handler_types import Called, Payload

T = TypeVar("T")

# Within the class, `list` means the method.
_Submitted: TypeAlias = list[SubmittedDocument]
_Artifacts: TypeAlias = list[Artifact]
_Operations: TypeAlias = list[BulkOperationDocument]


class Client(Changes, Inspection, Control, Schedules):
    """A client of the raytasks service at `url`. Use it as a context manager, or close it.

    By default, `api_key` is the value of `RAYTASKS_API_KEY`. The `namespace` is for keys that are
    bound to none. Each request has the timeout `timeout_seconds`, plus what it waits on purpose.

    Tasks and pages are the API's JSON documents. Every method raises `ApiError` if the API answers
    with an error, and `ServiceUnavailable` if nothing answers. For an argument that cannot be sent
    it raises `BadArgument`. Submissions, and requests that only read, are first tried again a few
    times.

    Threads may share a client. A forked process may go on with its parent's: it makes connections
    of its own. Only with a `transport` each process needs a client of its own.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        namespace: str | None = None,
        timeout_seconds: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._api = Api(
            url,
            api_key=api_key,
            namespace=namespace,
            timeout_seconds=timeout_seconds,
            clock=getattr(transport, "clock", None),
        )
        self.url = self._api.url
        self._connections = HttpConnections(transport, self._api.http_options())

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
        self._connections.close()

    def submit(
        self,
        task_type: Called[Payload],
        payload: Payload,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> SubmittedDocument:
        """Submit a task, and return it. On return it is on disk.

        The first argument is the function or class of the handler, or the name of its type. The
        payload is a JSON value, a pydantic model, a dataclass or a msgspec struct.

        Of all submissions with one `idempotency_key` only the first makes a task. Without one, this
        submission gets a key of its own, so that a retry does not double the task. The `options`
        are those of `POST /tasks/`: `priority`, `max_attempts`, `timeout_seconds`, `delay_seconds`
        or `run_at`, `tags`, `limit_values`, `unique`, `expires_seconds` or `expires_at`,
        `callback_url`. An option that is None is left out. With `duplicate`, the task is no new
        one, but the open one that holds the unique key. Raises `Conflict` if the key is held and is
        not to be answered with its holder.
        """
        submission: SubmissionDocument = {"task_type": task_type, "payload": payload, **options}
        return self._run(self._api.submit(submission, idempotency_key))

    def submit_many(
        self, submissions: Sequence[SubmissionDocument], *, idempotency_key: str | None = None
    ) -> _Submitted:
        """Submit 1 to 1,000 tasks, all or none, and return them in their order.

        The `idempotency_key` is that of the whole batch.
        """
        return self._run(self._api.submit_many(submissions, idempotency_key))

    def run(
        self,
        task_type: Called[Payload],
        payload: Payload,
        *,
        idempotency_key: str | None = None,
        wait_timeout_seconds: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskDocument:
        """Submit a task, wait until it has completed, and return it, with its `result`.

        Raises `TaskFailed` if it does not complete, and `WaitTimeout`.
        """
        submission: SubmissionDocument = {"task_type": task_type, "payload": payload, **options}
        return self._run(self._api.run(submission, idempotency_key, wait_timeout_seconds))

    def get(self, task_id: str, *, wait_seconds: float = 0.0) -> TaskDocument:
        """Return a task with its attempts, as soon as it has ended, or after the wait."""
        return self._run(self._api.get(task_id, wait_seconds))

    def wait(self, task_id: str, *, timeout_seconds: float | None = None) -> TaskDocument:
        """Wait until a task has ended, and return it. Raises `WaitTimeout`.

        It waits through an outage of up to two minutes, if the service has answered once.
        """
        return self._run(self._api.wait(task_id, timeout_seconds))

    def list(self, **query: Unpack[PageQuery]) -> PageDocument:
        """Return one page of the tasks, newest first.

        `query` is that of `GET /tasks/`: `state` (one or several), `task_type`, `tag`,
        `created_after`, `created_before`, `error_type`, `limit`, and `offset` or `cursor` (the
        `next_cursor` of the previous page).
        """
        return self._run(self._api.page(query))

    def tasks(self, **filters: Unpack[TaskFilters]) -> Generator[TaskDocument, None, None]:
        """Yield all tasks that the filters match, newest first, page by page; see `list`."""
        query: PageQuery | None = first_page(filters)
        while query is not None:
            page = self._run(self._api.page(query))
            yield from page["tasks"]
            query = next_page(query, page)

    def events(
        self,
        task_id: str,
        last_event_id: str | None = None,
        *,
        types: Sequence[str] | None = None,
        level: str | None = None,
        logs: bool | None = None,
        follow: bool = True,
    ) -> Generator[TaskEvent, None, None]:
        """Yield the past events of a task, then each new one, until it has ended.

        The last one is an `EndEvent`. A broken connection is made again, and continues after the
        last event, so each event is seen once. With `last_event_id`, the stream begins after that
        event. Only events of `types` are sent (`state`, `log`, `progress`), and log lines from
        `level` on; without `logs`, none. The end is always sent. Without `follow`, the stream
        ends when the past events were sent.
        """
        call = calls.events_call(task_id, types, level, logs, follow=follow)
        return self._follow(task_follower(call, self.url, last_event_id))

    def all_events(
        self,
        task_type: str | Sequence[str] | None = None,
        tag: str | None = None,
        *,
        last_event_id: str | None = None,
        on_open: Callable[[], None] | None = None,
    ) -> Generator[FeedEvent, None, None]:
        """Yield the changes of state of all tasks from now on, for ever.

        A `GapEvent` says that changes were missed: then list the tasks again. The callback
        `on_open` is called at each connection: all changes from then on are seen.
        """
        call = calls.all_events_call(task_type, tag)
        return self._follow(feed_follower(call, self.url, last_event_id, on_open))

    def logs(
        self, *, follow: bool = False, **query: Unpack[LogQuery]
    ) -> Generator[ServiceLog, None, None]:
        """Yield lines of the service's log: the newest `lines`, or those `after` one's id.

        With `follow`, each new line follows, for ever. `level` is the lowest level. A `GapEvent`
        says that lines are gone. The key must have the scope `operate`, and no namespace.
        """
        if follow:
            after = query.pop("after", None)
            return self._follow(log_follower(calls.logs_call(query), self.url, after))
        return self._log_pages(query)

    def _log_pages(self, query: LogQuery) -> Generator[ServiceLog, None, None]:
        asked: LogQuery | None = query
        while asked is not None:
            page = self._run(self._api.log_page(asked))
            yield from log_events(page)
            asked = next_log_page(asked, page)

    def cancel(self, task_id: str, *, message: str | None = None) -> TaskDocument:
        """Cancel a task, and return it; one that runs may take a moment to stop.

        The `message` says why; the task keeps it in its `cancel_reason`.
        """
        return self._run(self._api.cancel(task_id, message))

    def stack(self, task_id: str) -> StackDocument:
        """Return the Python stack of a running attempt: what it does just now.

        Raises `Conflict` if no attempt has begun, or if its process does not answer.
        """
        return self._run(self._api.stack(task_id))

    @overload
    def bulk_retry(
        self, *, dry_run: Literal[False] = False, **filters: Unpack[BulkFilters]
    ) -> BulkOperationDocument: ...
    @overload
    def bulk_retry(self, *, dry_run: Literal[True], **filters: Unpack[BulkFilters]) -> Matched: ...
    def bulk_retry(
        self, *, dry_run: bool = False, **filters: Unpack[BulkFilters]
    ) -> Matched | BulkOperationDocument:
        """Start to retry all FAILED or CANCELLED tasks that the filters match; see `list`.

        Return the operation, which continues by itself. With `dry_run` the tasks are only counted.
        """
        return self._bulk("retry", filters, dry_run)

    @overload
    def bulk_cancel(
        self, *, dry_run: Literal[False] = False, **filters: Unpack[BulkFilters]
    ) -> BulkOperationDocument: ...
    @overload
    def bulk_cancel(self, *, dry_run: Literal[True], **filters: Unpack[BulkFilters]) -> Matched: ...
    def bulk_cancel(
        self, *, dry_run: bool = False, **filters: Unpack[BulkFilters]
    ) -> Matched | BulkOperationDocument:
        """Start to cancel all tasks that the filters match; like `bulk_retry`."""
        return self._bulk("cancel", filters, dry_run)

    @overload
    def bulk_delete(
        self, *, dry_run: Literal[False] = False, **filters: Unpack[BulkFilters]
    ) -> BulkOperationDocument: ...
    @overload
    def bulk_delete(self, *, dry_run: Literal[True], **filters: Unpack[BulkFilters]) -> Matched: ...
    def bulk_delete(
        self, *, dry_run: bool = False, **filters: Unpack[BulkFilters]
    ) -> Matched | BulkOperationDocument:
        """Start to delete all tasks that have ended and the filters match; like `bulk_retry`."""
        return self._bulk("delete", filters, dry_run)

    def bulk(self, bulk_id: str) -> BulkOperationDocument:
        """Return an operation on many tasks, with its progress."""
        return self._run(self._api.bulk(bulk_id))

    def bulks(self) -> _Operations:
        """Return the newest operations on many tasks."""
        return self._run(self._api.bulks())

    def bulk_wait(
        self,
        bulk_id: str,
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[BulkOperationDocument], None] | None = None,
    ) -> BulkOperationDocument:
        """Wait until an operation is done, and return it. Raises `WaitTimeout`.

        `on_change` is called with the operation at each poll.
        """
        return self._run(self._api.bulk_wait(bulk_id, timeout_seconds, on_change))

    def artifacts(self, task_id: str) -> _Artifacts:
        """Return the files of a task, with links that expire."""
        return self._run(self._api.artifacts(task_id))

    def artifact(self, task_id: str, name: str) -> bytes:
        """Return a file of a task."""
        return self._run(self._api.artifact(task_id, name))

    def _bulk(
        self, action: str, filters: BulkFilters, dry_run: bool
    ) -> Matched | BulkOperationDocument:
        if dry_run:
            return self._run(self._api.bulk_count(action, filters))
        return self._run(self._api.bulk_start(action, filters))

    def _run(self, steps: Steps[T]) -> T:
        answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer = self._carry(step)

    def _carry(self, step: Step) -> httpx.Response | httpx.RequestError | None:
        if isinstance(step, Rest):
            time.sleep(step.seconds)
            return None
        try:
            return self._connections.here().request(**self._api.request(step))
        except httpx.RequestError as error:
            return error

    def _follow(self, follower: Follower[T]) -> Generator[T, None, None]:
        while True:
            try:
                request = self._api.stream(follower.next_call())
                with self._connections.here().stream(**request) as response:
                    if not is_event_stream(response):
                        response.read()
                    yield from follower.opened(response)
                    if follower.listens:
                        for sse in EventSource(response).iter_sse():
                            yield from follower.take(sse)
                            if follower.over:
                                return
                            if self._connections.forked:
                                break  # go on after the last event, by a connection of our own
            except httpx.RequestError as error:
                follower.broke(error)
            time.sleep(follower.pause())
