"""The submitter: the submissions of many requests, in as few calls of the tracker as possible."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from raytasks.api.coalescer import Coalescer
from raytasks.model.tasks import Accepted, BacklogFull, NewTask, StoreUnavailable

MAX_SECONDS = 9.0
"""How long a submission may take, so that an HTTP request is answered within ten seconds."""

MAX_TASKS = 1000
"""How many tasks go into one call; one request's tasks are never split."""

_Request = tuple[NewTask, ...]


class Submitter:
    """Submits the tasks of requests, one call at a time.

    A second call beside it would only make more and smaller ticks of the same tasks.
    """

    def __init__(self, send: Callable[[Sequence[NewTask]], Awaitable[Accepted]]) -> None:
        self._send = send
        self._requests: Coalescer[_Request, Accepted] = Coalescer(
            self._send_all, max_weight=MAX_TASKS, max_calls=1, weight=len
        )

    async def submit(self, tasks: Sequence[NewTask]) -> Accepted:
        """Submit tasks, all or none; on return they are on disk. Raises what `send` raises.

        Returns the duplicates among all that were sent in the same call: those that were not
        stored, as their idempotency key is taken, by their ids. Raises `StoreUnavailable` when it
        takes too long, with the calls before it.
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
            # It is all or none: what fits by itself must not fail with others.
            return list(await asyncio.gather(*map(self._send_alone, requests)))
        return [duplicates] * len(requests)

    async def _send_alone(self, request: _Request) -> Accepted | Exception:
        try:
            return await self._send(request)
        except Exception as error:
            return error
