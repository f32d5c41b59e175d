"""The Python stack of a running attempt, as text: what it does just now."""

import asyncio
import linecache
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any

from raytasks.runner.attempt import Attempt
from raytasks.runner.attempt_loop import AttemptLoop
from raytasks.runner.attempt_threads import AttemptThread
from raytasks.runner.nested import is_waiting

ANSWER_SECONDS = 5.0
"""How long the process of an attempt may take to show its stack."""

MAX_CHARACTERS = 100_000

_OURS = frozenset(
    {
        Attempt._call.__code__,
        Attempt.collect.__code__,
        AttemptThread._invoke.__code__,
        AttemptLoop._do.__code__,
        AttemptLoop._invoke.__code__,
    }
)
"""The code of raytasks that calls handlers."""


def stack_text(attempt: Attempt, thread_id: int) -> str | None:
    """Return the stack of an attempt that runs in a thread, the newest call last.

    It begins with the handler. If the attempt waits on its event loop, it is that of its
    coroutines. None if the thread has ended. Call it from another thread.
    """
    frame = sys._current_frames().get(thread_id)
    if frame is None:
        return None
    task = attempt.workplace.handler_loop.task
    if task is not None and is_waiting(frame):
        found = list(_coroutines(task.get_coro()))
    else:
        found = _of_handler(frame)
    return _text(found)


def loop_stack_text(task: "asyncio.Task[Any]", thread_id: int | None) -> str | None:
    """Return the stack of an attempt on a shared event loop, the newest call last.

    The loop runs in another thread than the caller's. None if that has ended.
    """
    code: Any = task.get_coro()
    if not code.cr_running:
        return _text([item for item in _coroutines(code) if item[0].f_code not in _OURS])
    frame = sys._current_frames().get(thread_id or 0)
    return None if frame is None else _text(_of_handler(frame))


def _text(found: list[tuple[FrameType, int]]) -> str:
    text = "".join(traceback.StackSummary.extract(iter(found)).format())
    linecache.clearcache()  # it would keep the files' text in the memory of each runner
    return text[-MAX_CHARACTERS:]


def _of_handler(frame: FrameType) -> list[tuple[FrameType, int]]:
    """Return the frames below the call of the handler, the newest last."""
    found: list[tuple[FrameType, int]] = []
    present: FrameType | None = frame
    while present is not None and present.f_code not in _OURS:
        found.append((present, present.f_lineno))
        present = present.f_back
    return found[::-1]


def _coroutines(code: Any) -> Iterator[tuple[FrameType, int]]:
    """Yield the frames of a coroutine and of those that it awaits."""
    awaited = _attribute(code, "cr_await")  # the first one is our own
    while awaited is not None:
        frame = _attribute(awaited, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            yield frame, frame.f_lineno
        awaited = _attribute(awaited, "cr_await", "gi_yieldfrom", "ag_await")


def _attribute(item: Any, *names: str) -> Any:
    return next((found for name in names if (found := getattr(item, name, None)) is not None), None)


class StackRequests:
    """The requests for the stack of an attempt in another process, which asks for them.

    All methods belong to one event loop.
    """

    def __init__(self) -> None:
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[str | None]] = []
        self._ended = False

    async def ask(self) -> str | None:
        """Return the stack; None if the process does not show it within `ANSWER_SECONDS`."""
        if self._ended:
            return None
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._wanted.set()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await answer
        except TimeoutError:
            return None

    async def wanted(self) -> bool:
        """Wait until somebody asks. Returns False once the attempt has ended."""
        await self._wanted.wait()
        self._wanted.clear()
        return not self._ended

    def answer(self, text: str | None) -> None:
        """Give the stack to all who wait for it."""
        waiting, self._waiting = self._waiting, []
        for answer in waiting:
            if not answer.done():
                answer.set_result(text)

    def end(self) -> None:
        """Answer everybody, as the attempt has ended."""
        self._ended = True
        self._wanted.set()
        self.answer(None)
