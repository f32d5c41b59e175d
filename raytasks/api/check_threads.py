"""Payload checks that run user code: in threads, with a time limit, so that none blocks others."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.tasks import StoreUnavailable

CHECK_SECONDS = 5.0
"""How long the validators of one request may take, in seconds."""

MAX_CHECKS = 4
"""Maximum number of concurrent checks of a task type. A thread that hangs cannot be ended."""

Result = TypeVar("Result")


class ChecksBusy(StoreUnavailable):
    """All threads for the checks of a task type are busy: checks hang, or there are many."""


class CheckThreads:
    """Runs checks in separate threads, a few for each task type."""

    def __init__(self, *, seconds: float = CHECK_SECONDS, most: int = MAX_CHECKS) -> None:
        self._seconds = seconds
        self._most = most
        self._running: Counter[str] = Counter()
        self._freed = asyncio.Event()

    async def run(self, task_types: Collection[str], check: Callable[[], Result]) -> Result:
        """Return the result of a check that runs validators of these types, or raise its error.

        Raises `InvalidSubmission` if the check takes longer than CHECK_SECONDS, and `ChecksBusy` if
        no thread was free for that time. A check that is given up continues, and keeps its thread.
        """
        names = ", ".join(sorted(task_types))
        try:
            async with asyncio.timeout(self._seconds):
                while any(self._running[name] >= self._most for name in task_types):
                    self._freed.clear()
                    await self._freed.wait()
        except TimeoutError:
            raise ChecksBusy(
                f"validators of {names} take all the time there is for them; try again soon"
            ) from None
        self._running.update(task_types)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Result] = loop.create_future()
        done.add_done_callback(_look)  # also if it ends too late for anybody
        thread = threading.Thread(
            target=self._run, args=(loop, done, task_types, check), name="check", daemon=True
        )
        thread.start()
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.shield(done)
        except TimeoutError:
            message = (
                f"the validators of {names} took longer than {self._seconds:g} seconds; "
                "let a handler do what takes time"
            )
            raise InvalidSubmission(
                "the payload could not be checked", [FieldError("/payload", message)]
            ) from None

    def _run(
        self,
        loop: asyncio.AbstractEventLoop,
        done: "asyncio.Future[Result]",
        task_types: Collection[str],
        check: Callable[[], Result],
    ) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = check()
        except Exception as failure:
            error = failure
        except BaseException as failure:  # nobody's Ctrl-C arrives in a thread
            error = InvalidSubmission(
                "the payload could not be checked",
                [FieldError("/payload", f"a validator raised {type(failure).__name__}")],
            )
        try:
            loop.call_soon_threadsafe(self._end, done, task_types, result, error)
        except RuntimeError:  # the loop has ended meanwhile
            return

    def _end(
        self,
        done: "asyncio.Future[Result]",
        task_types: Collection[str],
        result: Result,
        error: BaseException | None,
    ) -> None:
        self._running.subtract(task_types)
        self._freed.set()
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)


def _look(done: "asyncio.Future[Any]") -> None:
    """Retrieve the error: asyncio complains about errors that nobody has retrieved."""
    if not done.cancelled():
        done.exception()
