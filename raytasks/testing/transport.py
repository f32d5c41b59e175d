"""The transport from an HTTP client of a test to the API in this process."""

import asyncio
import math
import re
from collections.abc import Callable

import httpx

from raytasks.model.bounds import MAX_WAIT_SECONDS
from raytasks.testing.clock import MAX_SECONDS
from raytasks.testing.in_process_service import InProcessService

URL = "http://localhost"
"""The URL of the API. Without API keys, the API answers to no other host name."""

_TASK_PATH = re.compile(r"/tasks/([^/]+?)(/events)?/?")


class InProcessTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A transport of `httpx`, sync and async, to the API of a service in this process.

    No request waits in real time. For a request with `?wait=`, or for a task's events, `pass_time`
    is called first. Its arguments are the task's id and the maximum of seconds. The waits of a
    client last as long as `clock` says: it is what `pass_time` moves.
    """

    def __init__(
        self,
        service: InProcessService,
        pass_time: Callable[[str, float], None],
        clock: Callable[[], float],
    ) -> None:
        self.clock = clock
        self._service = service
        self._pass_time = pass_time

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the whole answer."""
        return self._send(request, request.read())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, and return the whole answer."""
        return await asyncio.to_thread(self._send, request, await request.aread())

    def _send(self, request: httpx.Request, content: bytes) -> httpx.Response:
        url = self._without_wait(request) if request.method == "GET" else request.url
        sent = httpx.Request(request.method, url, headers=request.headers, content=content)
        limit = request.extensions.get("timeout", {}).get("read")
        try:
            return self._service.call(self._answer(sent), limit)
        except TimeoutError:
            raise httpx.ReadTimeout("the answer takes too long", request=request) from None

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await httpx.ASGITransport(self._service.app).handle_async_request(request)
        content = await response.aread()
        if request.method == "POST" and request.url.path.rstrip("/") == "/bulk":
            await self._service.bulks_done()
        return httpx.Response(response.status_code, headers=response.headers, content=content)

    def _without_wait(self, request: httpx.Request) -> httpx.URL:
        url = request.url
        task = _TASK_PATH.fullmatch(url.path)
        if task is None:
            return url
        if task[2]:
            self._pass_time(task[1], MAX_SECONDS)
            return url
        waits = url.params.get_list("wait")
        try:
            seconds = float(waits[0]) if len(waits) == 1 else math.nan
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= MAX_WAIT_SECONDS:
            return url  # no wait, or one that the API refuses
        self._pass_time(task[1], seconds)
        return url.copy_remove_param("wait")
