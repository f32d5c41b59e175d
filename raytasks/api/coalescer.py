"""The coalescer: what many requests submit at the same time travels to the tracker in one call."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from raytasks.model.tasks import Accepted, BacklogFull, NewTask, StoreUnavailable

Duplicates = Accepted
"""The submissions that were not stored since their idempotency key is taken, by their ids."""

MAX_SECONDS = 9.0
"""How long a submission may take, so that an HTTP request is answered within ten seconds."""

Send = Callable[[Sequence[NewTask]], Awaitable[Duplicates]]

MAX_TASKS = 1000
"""At most how many tasks go into one call; one request's tasks are never split."""


class Coalescer:
    """Gathers submissions while a call is on its way, and never waits on purpose.

    One call at a time: a second one would only make more and smaller ticks of the same tasks.

    A client that hangs up cancels only its own waiting: its tasks, and those of the others in the
    batch, are submitted all the same.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: deque[tuple[tuple[NewTask, ...], asyncio.Future[Duplicates]]] = deque()
        self._call: asyncio.Task[None] | None = None

    async def submit(self, tasks: Sequence[NewTask]) -> Duplicates:
        """Submit tasks, all or none; on return they are on disk. Raises what `send` raises.

        Raises `StoreUnavailable` when that takes too long, with the calls before it.

        Returns the duplicates among all that were sent in the same call.
        """
        accepted: asyncio.Future[Duplicates] = asyncio.get_running_loop().create_future()
        item = (tuple(tasks), accepted)
        self._waiting.append(item)
        if self._call is None:
            self._start_call()
        try:
            async with asyncio.timeout(MAX_SECONDS):
                return await accepted
        except TimeoutError:
            if item in self._waiting:
                self._waiting.remove(item)
            raise StoreUnavailable("the tracker does not answer; try again soon") from None

    def _start_call(self) -> None:
        batch = [self._waiting.popleft()]
        size = len(batch[0][0])
        while self._waiting and size + len(self._waiting[0][0]) <= MAX_TASKS:
            size += len(self._waiting[0][0])
            batch.append(self._waiting.popleft())
        self._call = asyncio.ensure_future(self._send_batch(batch))
        self._call.add_done_callback(self._call_done)

    def _call_done(self, _call: "asyncio.Task[None]") -> None:
        self._call = None
        if self._waiting:
            self._start_call()

    async def _send_batch(
        self, batch: Sequence[tuple[tuple[NewTask, ...], "asyncio.Future[Duplicates]"]]
    ) -> None:
        failure: BaseException | None = None
        duplicates = Accepted()
        try:
            duplicates = await self._send([task for tasks, _ in batch for task in tasks])
        except BacklogFull as error:
            if len(batch) > 1:  # it is all or none: what fits by itself must not fail with others
                await asyncio.gather(*(self._send_batch([item]) for item in batch))
                return
            failure = error
        except asyncio.CancelledError:
            for _, accepted in batch:
                accepted.cancel()
            raise
        except Exception as error:
            failure = error
        for _, accepted in batch:
            if accepted.done():
                continue
            if failure is None:
                accepted.set_result(duplicates)
            else:
                accepted.set_exception(failure)
