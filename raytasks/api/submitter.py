"""The submitter: it puts the submissions of many requests into as few tracker calls as possible."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from raytasks.api.coalescer import Coalescer
from raytasks.model.tasks import Accepted, BacklogFull, NewTask, StoreUnavailable

MAX_SECONDS = 9.0
"""How long a submission may take, in seconds.

So an HTTP request is answered within ten seconds.
"""

MAX_TASKS = 1000
"""Maximum number of tasks in one call. The tasks of one request are never split."""

_Request = tuple[NewTask, ...]


class Submitter:
    """Submits the tasks of requests, one call at a time.

    Concurrent calls would only spread the same tasks over more and smaller ticks.
    """

    def __init__(self, send: Callable[[Sequence[NewTask]], Awaitable[Accepted]]) -> None:
        self._send = send
        self._requests: Coalescer[_Request, Accepted] = Coalescer(
            self._send_all, max_weight=MAX_TASKS, max_calls=1, weight=len
        )

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """Submit tasks, all or none. On return they are on disk. Raises what `send` raises.

        Returns, by id, the duplicates among all tasks of the same call. A duplicate is not stored,
        since its idempotency key is taken. Raises `StoreUnavailable` after MAX_SECONDS. The time
        includes the calls before it.
        """
        try:
            return await self._requests.ask(tuple(tasks), seconds=MAX_SECONDS)
        except TimeoutError:
            raise StoreUnavailable("the tracker does not answer; try again soon") from None

    async def _send_all(self, requests: Sequence[_Request]) -> list[Accepted | Exception]:
        try:
            duplicates = await self._send([task for tasks in requests for task in tasks])
        except BacklogFull as error:
            if len(requests) == 1:
                return [error]
            # A call is all or none: a request that fits alone must not fail because of others.
            return list(await asyncio.gather(*map(self._send_alone, requests)))
        return [duplicates] * len(requests)

    async def _send_alone(self, request: _Request) -> Accepted | Exception:
        try:
            return await self._send(request)
        except Exception as error:
            return error
