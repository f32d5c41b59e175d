"""The client for asyncio: the methods of `raytasks.client.Client` as coroutines."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Literal, TypeAlias, TypeVar, Unpack, overload

import httpx
from httpx_sse import EventSource

from raytasks.client import requests as calls
from raytasks.client.answers import is_event_stream
from raytasks.client.api import Api
from raytasks.client.change_calls_async import AsyncChanges
from raytasks.client.control_calls_async import AsyncControl
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
from raytasks.client.http_connections import AsyncHttpConnections
from raytasks.client.paging import first_page, next_log_page, next_page
from raytasks.client.requests import DEFAULT_URL
from raytasks.client.schedule_calls_async import AsyncSchedules
from raytasks.client.service_calls_async import AsyncInspection
from raytasks.client.steps import Rest, Step, Steps
from raytasks.handling.handler_types import Called, Payload

T = TypeVar("T")

# Within the class, `list` means the method.
_Submitted: TypeAlias = list[SubmittedDocument]
_Artifacts: TypeAlias = list[Artifact]
_Operations: TypeAlias = list[BulkOperationDocument]


class AsyncClient(AsyncChanges, AsyncInspection, AsyncControl, AsyncSchedules):
    """A client of the raytasks service at `url`, for asyncio.

    Its methods are those of `Client`, which describes each, with the same arguments, results and
    errors. They must be awaited; `tasks`, `events` and `all_events` are for `async for`. Use it as
    an asynchronous context manager, or close it.

    It may be used on several event loops, also at once: each has connections of its own. Close it
    on the loop that used it last; the connections of other loops end with them.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        api_key: str | None = None,
        namespace: str | None = None,
        timeout_seconds: float = 30.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._api = Api(
            url,
            api_key=api_key,
            namespace=namespace,
            timeout_seconds=timeout_seconds,
            clock=getattr(transport, "clock", None),
        )
        self.url = self._api.url
        self._connections = AsyncHttpConnections(transport, self._api.http_options())

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connections.close()

    async def submit(
        self,
        task_type: Called[Payload],
        payload: Payload,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> SubmittedDocument:
        """Submit a task, and return it. On return it is on disk."""
        submission: SubmissionDocument = {"task_type": task_type, "payload": payload, **options}
        return await self._run(self._api.submit(submission, idempotency_key))

    async def submit_many(
        self, submissions: Sequence[SubmissionDocument], *, idempotency_key: str | None = None
    ) -> _Submitted:
        """Submit 1 to 1,000 tasks, all or none, and return them in their order."""
        return await self._run(self._api.submit_many(submissions, idempotency_key))

    async def run(
        self,
        task_type: Called[Payload],
        payload: Payload,
        *,
        idempotency_key: str | None = None,
        wait_timeout_seconds: float | None = None,
        **options: Unpack[SubmitOptions],
    ) -> TaskDocument:
        """Submit a task, wait until it has completed, and return it, with its `result`."""
        submission: SubmissionDocument = {"task_type": task_type, "payload": payload, **options}
        return await self._run(self._api.run(submission, idempotency_key, wait_timeout_seconds))

    async def get(self, task_id: str, *, wait_seconds: float = 0.0) -> TaskDocument:
        """Return a task with its attempts, as soon as it has ended, or after the wait."""
        return await self._run(self._api.get(task_id, wait_seconds))

    async def wait(self, task_id: str, *, timeout_seconds: float | None = None) -> TaskDocument:
        """Wait until a task has ended, and return it. Raises `WaitTimeout`."""
        return await self._run(self._api.wait(task_id, timeout_seconds))

    async def list(self, **query: Unpack[PageQuery]) -> PageDocument:
        """Return one page of the tasks, newest first."""
        return await self._run(self._api.page(query))

    async def tasks(self, **filters: Unpack[TaskFilters]) -> AsyncGenerator[TaskDocument, None]:
        """Yield all tasks that the filters match, newest first, page by page; see `list`."""
        query: PageQuery | None = first_page(filters)
        while query is not None:
            page = await self._run(self._api.page(query))
            for task in page["tasks"]:
                yield task
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
    ) -> AsyncGenerator[TaskEvent, None]:
        """Yield the past events of a task, then each new one, until it has ended."""
        call = calls.events_call(task_id, types, level, logs, follow=follow)
        return self._follow(task_follower(call, self.url, last_event_id))

    def all_events(
        self,
        task_type: str | Sequence[str] | None = None,
        tag: str | None = None,
        *,
        last_event_id: str | None = None,
        on_open: Callable[[], None] | None = None,
    ) -> AsyncGenerator[FeedEvent, None]:
        """Yield the changes of state of all tasks from now on, for ever."""
        call = calls.all_events_call(task_type, tag)
        return self._follow(feed_follower(call, self.url, last_event_id, on_open))

    def logs(
        self, *, follow: bool = False, **query: Unpack[LogQuery]
    ) -> AsyncGenerator[ServiceLog, None]:
        """Yield lines of the service's log: the newest `lines`, or those `after` one's id.

        With `follow`, each new line follows, for ever. `level` is the lowest level. A `GapEvent`
        says that lines are gone. The key must have the scope `operate`, and no namespace.
        """
        if follow:
            after = query.pop("after", None)
            return self._follow(log_follower(calls.logs_call(query), self.url, after))
        return self._log_pages(query)

    async def _log_pages(self, query: LogQuery) -> AsyncGenerator[ServiceLog, None]:
        asked: LogQuery | None = query
        while asked is not None:
            page = await self._run(self._api.log_page(asked))
            for event in log_events(page):
                yield event
            asked = next_log_page(asked, page)

    async def cancel(self, task_id: str, *, message: str | None = None) -> TaskDocument:
        """Cancel a task, and return it; one that runs may take a moment to stop.

        The `message` says why; the task keeps it in its `cancel_reason`.
        """
        return await self._run(self._api.cancel(task_id, message))

    async def stack(self, task_id: str) -> StackDocument:
        """Return the Python stack of a running attempt: what it does just now.

        Raises `Conflict` if no attempt has begun, or if its process does not answer.
        """
        return await self._run(self._api.stack(task_id))

    @overload
    async def bulk_retry(
        self, *, dry_run: Literal[False] = False, **filters: Unpack[BulkFilters]
    ) -> BulkOperationDocument: ...
    @overload
    async def bulk_retry(
        self, *, dry_run: Literal[True], **filters: Unpack[BulkFilters]
    ) -> Matched: ...
    async def bulk_retry(
        self, *, dry_run: bool = False, **filters: Unpack[BulkFilters]
    ) -> Matched | BulkOperationDocument:
        """Start to retry all FAILED or CANCELLED tasks that the filters match; see `list`."""
        return await self._bulk("retry", filters, dry_run)

    @overload
    async def bulk_cancel(
        self, *, dry_run: Literal[False] = False, **filters: Unpack[BulkFilters]
    ) -> BulkOperationDocument: ...
    @overload
    async def bulk_cancel(
        self, *, dry_run: Literal[True], **filters: Unpack[BulkFilters]
    ) -> Matched: ...
    async def bulk_cancel(
        self, *, dry_run: bool = False, **filters: Unpack[BulkFilters]
    ) -> Matched | BulkOperationDocument:
        """Start to cancel all tasks that the filters match; like `bulk_retry`."""
        return await self._bulk("cancel", filters, dry_run)

    @overload
    async def bulk_delete(
        self, *, dry_run: Literal[False] = False, **filters: Unpack[BulkFilters]
    ) -> BulkOperationDocument: ...
    @overload
    async def bulk_delete(
        self, *, dry_run: Literal[True], **filters: Unpack[BulkFilters]
    ) -> Matched: ...
    async def bulk_delete(
        self, *, dry_run: bool = False, **filters: Unpack[BulkFilters]
    ) -> Matched | BulkOperationDocument:
        """Start to delete all tasks that have ended and the filters match; like `bulk_retry`."""
        return await self._bulk("delete", filters, dry_run)

    async def bulk(self, bulk_id: str) -> BulkOperationDocument:
        """Return an operation on many tasks, with its progress."""
        return await self._run(self._api.bulk(bulk_id))

    async def bulks(self) -> _Operations:
        """Return the newest operations on many tasks."""
        return await self._run(self._api.bulks())

    async def bulk_wait(
        self,
        bulk_id: str,
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[BulkOperationDocument], None] | None = None,
    ) -> BulkOperationDocument:
        """Wait until an operation is done, and return it. Raises `WaitTimeout`."""
        return await self._run(self._api.bulk_wait(bulk_id, timeout_seconds, on_change))

    async def artifacts(self, task_id: str) -> _Artifacts:
        """Return the files of a task, with links that expire."""
        return await self._run(self._api.artifacts(task_id))

    async def artifact(self, task_id: str, name: str) -> bytes:
        """Return a file of a task."""
        return await self._run(self._api.artifact(task_id, name))

    async def _bulk(
        self, action: str, filters: BulkFilters, dry_run: bool
    ) -> Matched | BulkOperationDocument:
        if dry_run:
            return await self._run(self._api.bulk_count(action, filters))
        return await self._run(self._api.bulk_start(action, filters))

    async def _run(self, steps: Steps[T]) -> T:
        answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as stop:
                result: T = stop.value
                return result
            answer = await self._carry(step)

    async def _carry(self, step: Step) -> httpx.Response | httpx.RequestError | None:
        if isinstance(step, Rest):
            await asyncio.sleep(step.seconds)
            return None
        try:
            return await self._connections.here().request(**self._api.request(step))
        except httpx.RequestError as error:
            return error

    async def _follow(self, follower: Follower[T]) -> AsyncGenerator[T, None]:
        while True:
            try:
                request = self._api.stream(follower.next_call())
                async with self._connections.here().stream(**request) as response:
                    if not is_event_stream(response):
                        await response.aread()
                    for event in follower.opened(response):
                        yield event
                    if follower.listens:
                        async with aclosing(EventSource(response).aiter_sse()) as stream:
                            async for sse in stream:
                                for event in follower.take(sse):
                                    yield event
                                if follower.over:
                                    return
            except httpx.RequestError as error:
                follower.broke(error)
            await asyncio.sleep(follower.pause())
