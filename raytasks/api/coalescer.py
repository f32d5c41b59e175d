"""The coalescer: what many ask for at the same time goes in one call."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class _Waiting(NamedTuple, Generic[Item, Answer]):
    item: Item
    answer: "asyncio.Future[Answer]"


class Coalescer(Generic[Item, Answer]):
    """Gathers items while calls are under way, and never delays a call to fill it.

    `call` returns an answer for each item, in order. An answer that is an exception is raised for
    its item alone. At most `max_calls` calls run at a time, each with a weight of at most
    `max_weight`. A heavier item goes alone. Without `weight` each item weighs 1.

    A client that disconnects cancels only its own wait: its item is sent all the same.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Answer | Exception]]],
        *,
        max_weight: int,
        max_calls: int,
        weight: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        self._call = call
        self._max_weight = max_weight
        self._max_calls = max_calls
        self._weight = weight
        self._waiting: dict[Hashable, _Waiting[Item, Answer]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._starts = False

    async def ask(
        self, item: Item, *, same: Hashable = None, seconds: float | None = None
    ) -> Answer:
        """Return the answer of a call that begins after this. Raises what the call raises.

        Items with an equal `same` share one answer. Raises `TimeoutError` after `seconds`. An item
        that has not been sent by then is never sent, unless it has a `same`.
        """
        key: Hashable = object() if same is None else same
        waiting = self._waiting.get(key)
        if waiting is None:
            loop = asyncio.get_running_loop()
            waiting = self._waiting[key] = _Waiting(item, loop.create_future())
            if not self._starts and len(self._calls) < self._max_calls:
                # Not at once: items that others ask for in this turn of the loop join the call.
                self._starts = True
                loop.call_soon(self._start_calls)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(waiting.answer)  # others may wait for it too
        except TimeoutError:
            if same is None:
                self._waiting.pop(key, None)
            raise

    def _start_calls(self) -> None:
        self._starts = False
        while self._waiting and len(self._calls) < self._max_calls:
            call = asyncio.ensure_future(self._make(self._next_batch()))
            self._calls.add(call)
            call.add_done_callback(self._call_done)

    def _next_batch(self) -> list[_Waiting[Item, Answer]]:
        batch: list[_Waiting[Item, Answer]] = []
        left = self._max_weight
        for key, waiting in list(self._waiting.items()):
            left -= self._weight(waiting.item)
            if batch and left < 0:
                break
            batch.append(self._waiting.pop(key))
            if left <= 0:
                break
        return batch

    def _call_done(self, call: "asyncio.Task[None]") -> None:
        self._calls.discard(call)
        self._start_calls()

    async def _make(self, batch: Sequence[_Waiting[Item, Answer]]) -> None:
        try:
            answers = await self._call([waiting.item for waiting in batch])
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.answer.cancel()
            raise
        except Exception as error:
            answers = [error] * len(batch)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
                waiting.answer.exception()  # maybe nobody waits for it now
            else:
                waiting.answer.set_result(answer)
