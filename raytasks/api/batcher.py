"""The batcher: what many requests submit at the same time travels to the tracker in one call."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from raytasks.models import Duplicate, NewTask

Duplicates = dict[str, Duplicate]
"""The submissions that were not stored since their idempotency key is taken, by their ids."""

Send = Callable[[Sequence[NewTask]], Awaitable[Duplicates]]

MOST_TASKS = 1000
"""How many tasks go into one call, at the most; one request's tasks are never split."""

MOST_CALLS = 2
"""How many calls are on their way at a time, at the most. What comes in meanwhile gathers."""


class Batcher:
    """Gathers submissions while calls are on their way, and never waits on purpose.

    A client that hangs up cancels only its own waiting: its tasks, and those of the others in the
    batch, are submitted all the same.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: list[tuple[tuple[NewTask, ...], asyncio.Future[Duplicates]]] = []
        self._calls: set[asyncio.Task[None]] = set()

    async def submit(self, tasks: Sequence[NewTask]) -> Duplicates:
        """Submit tasks, all or none; on return they are on disk. Raises what `send` raises.

        Returns the duplicates among all that were sent in the same call.
        """
        accepted: asyncio.Future[Duplicates] = asyncio.get_running_loop().create_future()
        self._waiting.append((tuple(tasks), accepted))
        self._start_calls()
        return await accepted

    def _start_calls(self) -> None:
        while self._waiting and len(self._calls) < MOST_CALLS:
            batch = [self._waiting.pop(0)]
            size = len(batch[0][0])
            while self._waiting and size + len(self._waiting[0][0]) <= MOST_TASKS:
                size += len(self._waiting[0][0])
                batch.append(self._waiting.pop(0))
            call = asyncio.ensure_future(self._call(batch))
            self._calls.add(call)
            call.add_done_callback(self._call_done)

    def _call_done(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._start_calls()

    async def _call(
        self, batch: Sequence[tuple[tuple[NewTask, ...], "asyncio.Future[Duplicates]"]]
    ) -> None:
        failure: BaseException | None = None
        duplicates: Duplicates = {}
        try:
            duplicates = await self._send([task for tasks, _ in batch for task in tasks])
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
