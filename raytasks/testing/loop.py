"""An event loop in a separate thread, for callers that have none, or must not block theirs."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from raytasks.runner.handler_loop import LEFT_SECONDS, caught, end_tasks, told_of

Result = TypeVar("Result")


class LoopThread:
    """Runs coroutines for other threads.

    After `close`, neither thread nor loop is left.
    """

    def __init__(self, name: str) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._ready.wait()

    def call(self, coroutine: Coroutine[Any, Any, Result], seconds: float | None = None) -> Result:
        """Run a coroutine, and return its result. Raises `TimeoutError` after `seconds`."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(seconds)
        finally:
            future.cancel()  # matters only if the wait for it was interrupted

    def post(self, call: Callable[..., object], *arguments: object) -> None:
        """Make a call in the loop's thread, in call order, without waiting for it."""
        self.loop.call_soon_threadsafe(call, *arguments)

    def call_handler(
        self, awaitable: Awaitable[Result], tell: Callable[[str], object] = lambda _: None
    ) -> Result:
        """Await what an async handler returned. Its errors are raised here.

        Asyncio tasks that it leaves behind are ended, as by a runner, and reported to `tell`.
        """
        left: list[str] = []
        result, error = self.call(_alone(awaitable, left))
        if left:
            tell(told_of(left))
        if error is not None:
            raise error
        found: Result = result
        return found

    @property
    def closed(self) -> bool:
        """Whether the loop has ended."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """Cancel the coroutines that still run, and wait for the end of the thread."""
        self.loop.call_soon_threadsafe(self._end.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            self.loop = runner.get_loop()
            self._end = asyncio.Event()
            self._ready.set()
            runner.run(self._until_closed())

    async def _until_closed(self) -> None:
        await self._end.wait()


async def _alone(awaitable: Awaitable[Any], left: list[str]) -> tuple[Any, BaseException | None]:
    others = asyncio.all_tasks()
    try:
        return await caught(awaitable)
    finally:
        await end_tasks(left, LEFT_SECONDS, keep=others)
