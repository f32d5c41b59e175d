"""The threads behind `asyncio.to_thread` in handlers: what runs there belongs to its attempt.

A thread cannot be cancelled. So an attempt has ended only when its threads have: no retry may run
beside them. If nobody counted those that hang, none would be left for later attempts.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

THREADS_SECONDS = 4.0
"""How long threads that an attempt has left may take before their process has to end."""


class ThreadWork:
    """The calls that one owner has in threads. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._open: set[Future[Any]] = set()

    @property
    def count(self) -> int:
        """How many of its calls have not ended."""
        return len(self._open)

    def add(self, future: "Future[Any]") -> None:
        """Note a call that has been given to a thread."""
        self._open.add(future)
        future.add_done_callback(self._open.discard)

    def join(self) -> None:
        """Wait until all have ended, for as long as it takes."""
        wait([*self._open])

    async def end(self, seconds: float | None = None) -> bool:
        """Drop what no thread has begun, and wait for the rest; return whether all have ended.

        It waits for up to `seconds`; None: for as long as it takes.
        """
        for future in [*self._open]:
            future.cancel()
        running = [asyncio.wrap_future(future) for future in [*self._open]]
        if running:
            done, _ = await asyncio.wait(running, timeout=seconds)
            for ended in done:
                ended.cancelled() or ended.exception()  # seen, so asyncio does not complain of it
        return not self._open


class HandlerThreads(ThreadPoolExecutor):
    """The threads of an event loop of handlers. `owner` returns whose call is given to them."""

    def __init__(self, owner: Callable[[], ThreadWork | None], number: int | None = None) -> None:
        super().__init__(number, thread_name_prefix="to_thread")
        self._owner = owner

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        """Do as the executor does, and note whose it is."""
        future = super().submit(fn, *args, **kwargs)
        owner = self._owner()
        if owner is not None:
            owner.add(future)
        return future


def told_of_threads(count: int) -> str:
    """Return the message about threads that an attempt has left."""
    return (
        f"threads that the handler has started still run, {count}: asyncio.to_thread cannot be "
        "stopped, so this process ends; give what blocks a time limit of its own"
    )
