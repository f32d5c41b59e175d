"""The waiters for the end of a task: each costs one future and one timer, and no more."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")

_Future = asyncio.Future[None]

_ANSWERED_AT_ONCE = 50


class Waiters:
    """The waiters for news of a task, by its id."""

    def __init__(self) -> None:
        self._futures: dict[str, set[_Future]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._futures

    async def look_until(
        self,
        task_id: str,
        look: Callable[[], Awaitable[Found]],
        ended: Callable[[Found], bool],
        seconds: float | None,
    ) -> Found:
        """Call `look` at each answer about a task, until `ended` accepts what it found.

        Returns what was found last, also after a timeout of `seconds`; None: no timeout.
        """
        loop = asyncio.get_running_loop()
        deadline = None if seconds is None else loop.time() + seconds
        timer: asyncio.TimerHandle | None = None
        while True:
            # Listen before looking, so that no change is missed in between.
            future: _Future = loop.create_future()
            self._add(task_id, future)
            try:
                over = deadline is not None and loop.time() >= deadline
                found = await look()
                if over or ended(found):
                    return found
                if deadline is not None:
                    timer = loop.call_at(deadline, _answer, future)
                await future
            finally:
                self._remove(task_id, future)
                if timer is not None:
                    timer.cancel()

    def answer(self, task_id: str) -> bool:
        """Answer all waiters for this task; return whether there are any."""
        futures = self._futures.get(task_id)
        if futures is None:
            return False
        for future in futures:
            _answer(future)
        return True

    def answer_all(self) -> None:
        """Answer all present waiters, a few at a time so that other work has its turn."""
        loop = asyncio.get_running_loop()
        left = deque(future for futures in self._futures.values() for future in futures)

        def answer_some() -> None:
            for _ in range(min(_ANSWERED_AT_ONCE, len(left))):
                _answer(left.popleft())
            if left:
                loop.call_soon(answer_some)

        answer_some()

    def _add(self, task_id: str, future: _Future) -> None:
        self._futures.setdefault(task_id, set()).add(future)
        self._count += 1

    def _remove(self, task_id: str, future: _Future) -> None:
        futures = self._futures[task_id]
        futures.discard(future)
        self._count -= 1
        if not futures:
            del self._futures[task_id]


def _answer(future: _Future) -> None:
    if not future.done():
        future.set_result(None)
