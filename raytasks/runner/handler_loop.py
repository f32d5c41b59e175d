"""The event loop of async handlers: it is kept, but what an attempt leaves on it is ended."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from raytasks.runner.handler_threads import (
    THREADS_SECONDS,
    HandlerThreads,
    ThreadWork,
    told_of_threads,
)
from raytasks.runner.interrupt import AttemptStopped

LEFT_SECONDS = 1.0
"""How long tasks that an attempt has left may take to end after their cancel."""

_NAMES = 5


class HandlerLoop:
    """Runs what async handlers return, one after the other, in the thread that calls `run`.

    The loop stays from one attempt to the next, so that open connections can be used again. Tasks,
    timers and generators that an attempt leaves are ended with it. Otherwise they would stand still
    and go on during the next attempt.
    """

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.runner: asyncio.Runner | None = None
        self._has_spawned = False
        self.threads = ThreadWork()
        """The threads of handlers. If an attempt has left any, its process has to end."""

    def run(self, awaitable: Awaitable[Any], tell: Callable[[str], object]) -> Any:
        """Return the result of the awaitable, or raise its error.

        If something was left on the loop, end it and call `tell` with a message.
        """
        loop = self._ready_loop()
        self._has_spawned = loop.get_task_factory() != self._make_task  # a handler has set its own
        self.task = asyncio.Task(caught(awaitable), loop=loop)
        try:
            result, error = loop.run_until_complete(self.task)
        finally:
            task, self.task = self.task, None
            spawned = self._has_spawned and asyncio.all_tasks(loop)
            if spawned or not task.done() or self.threads.count or _has_more(loop):
                self._clear(loop, tell)
        if error is not None:
            raise error
        return result

    def close(self) -> None:
        """Close the loop; nothing runs on it any more."""
        runner, self.runner = self.runner, None
        if runner is not None:
            with contextlib.suppress(Exception):
                runner.get_loop().close()

    def _ready_loop(self) -> asyncio.AbstractEventLoop:
        if self.runner is not None and self.runner.get_loop().is_closed():
            self.runner = None  # a handler has closed it
        if self.runner is None:
            self.runner = asyncio.Runner()
            self.runner.get_loop().set_task_factory(self._make_task)
            self.runner.get_loop().set_default_executor(HandlerThreads(lambda: self.threads))
        return self.runner.get_loop()

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, code: Any, **options: Any
    ) -> "asyncio.Task[Any]":
        """Make a task as asyncio does, and note that there is one, as looking for tasks is slow."""
        self._has_spawned = True
        return asyncio.Task(code, loop=loop, **options)

    def _clear(self, loop: asyncio.AbstractEventLoop, tell: Callable[[str], object]) -> None:
        left: list[str] = []
        try:
            ended = loop.run_until_complete(end_tasks(left, LEFT_SECONDS))
            for timer in _timers(loop):
                timer.cancel()
            loop.run_until_complete(self.threads.end(THREADS_SECONDS))
        except AttemptStopped:
            self.close()
            raise
        except BaseException:  # raised by a left task: too late for the attempt to fail
            ended = False
        if not ended:
            self.close()  # what does not end must never run again
        if left:
            tell(told_of(left))
        if count := self.threads.count:
            tell(told_of_threads(count))


async def end_tasks(
    left: list[str], seconds: float, keep: Collection["asyncio.Task[Any]"] = ()
) -> bool:
    """Cancel all tasks of this loop but those to `keep`, and return whether all have ended.

    Waits up to `seconds`. The names of the cancelled tasks are added to `left`. Without `keep`,
    async generators are closed too.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    asked = {asyncio.current_task(), *keep}
    await asyncio.sleep(0)  # let those end that are about to
    waiting: set[asyncio.Task[Any]] = set()
    while True:
        new = asyncio.all_tasks() - asked
        for task in new:
            left.append(_name(task))
            task.cancel()
        asked |= new
        waiting = {task for task in waiting | new if not task.done()}
        if not waiting or loop.time() >= deadline:
            break
        done, _ = await asyncio.wait(
            waiting, timeout=deadline - loop.time(), return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.cancelled() or task.exception()  # seen, so that asyncio does not complain of it
    if keep:
        return not waiting
    try:
        async with asyncio.timeout_at(deadline):
            for generator in _generators(loop):
                with contextlib.suppress(Exception):
                    await generator.aclose()
    except TimeoutError:
        return False
    return not waiting


def told_of(left: Collection[str]) -> str:
    """Return the message about the tasks that an attempt has left."""
    names = ", ".join([*left][:_NAMES]) + (", …" if len(left) > _NAMES else "")
    return f"asyncio tasks that the handler left were cancelled, {len(left)}: {names}"


# Asyncio has no public way to list what a loop has beside its tasks. In a loop of another kind,
# without these private attributes, nothing is found.


def _timers(loop: asyncio.AbstractEventLoop) -> list[asyncio.TimerHandle]:
    return [timer for timer in getattr(loop, "_scheduled", ()) if not timer.cancelled()]


def _generators(loop: asyncio.AbstractEventLoop) -> list[Any]:
    return [*getattr(loop, "_asyncgens", ())]


def _has_more(loop: asyncio.AbstractEventLoop) -> bool:
    return bool(getattr(loop, "_ready", ()) or _timers(loop) or getattr(loop, "_asyncgens", ()))


def _name(task: "asyncio.Task[Any]") -> str:
    code = task.get_coro()
    return str(getattr(code, "__qualname__", None) or task.get_name())[:100]


async def caught(awaitable: Awaitable[Any]) -> tuple[Any, BaseException | None]:
    """Return the result and the exception. Some exceptions would break the loop if raised in it."""
    try:
        return await awaitable, None
    except BaseException as error:
        return None, error
