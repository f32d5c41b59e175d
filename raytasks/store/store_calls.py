"""Store calls from an event loop: each in a thread, each with a deadline.

A database may hang: its server is frozen, its disk stands still, somebody holds a lock. A frozen
server cannot time itself out, so each call has a deadline here. After it the connection is cut from
this side, which ends the call in its thread. A thread that is still stuck is given up. That holds
also for a call whose caller no longer waits: its thread would be lost otherwise.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from raytasks.model.tasks import StoreUnavailable
from raytasks.store.cutting import Cuttable
from raytasks.store.refusals import blames_command, unavailable

log = logging.getLogger(__name__)

Result = TypeVar("Result")

READ_SECONDS = 8.0
"""Deadline of a reading call, in seconds: an HTTP request must be answered within ten."""

WRITE_SECONDS = 15.0
"""Deadline of a writing call, in seconds: the server's own limit for one statement."""

MAX_STUCK = 8
"""Maximum number of stuck threads; with so many, further calls fail at once."""

HANGS = "the database does not answer"

_LAST_SECONDS = 1.0  # for a call after its connection was cut
_CLOSE_SECONDS = 5.0

Executors = Callable[[int, str], Executor]
"""The factory of executors for store calls: maximum number of concurrent calls, and a name."""


def threads(number: int, name: str) -> Executor:
    """Return a pool of threads in this process."""
    return ThreadPoolExecutor(number, thread_name_prefix=name)


class StoreCalls:
    """The store calls of one kind, at most `number` at a time, each with a deadline.

    When a thread is given up, `on_stuck` is called: its connection does not come back.
    """

    def __init__(
        self,
        number: int,
        name: str,
        *,
        executors: Executors = threads,
        on_stuck: Callable[[], None] = lambda: None,
    ) -> None:
        self._executors = executors
        self._number = number
        self._name = name
        self._on_stuck = on_stuck
        self._executor = self._executors(self._number, self._name)
        self._open: dict[Future[Any], Cuttable] = {}
        self._cutting: set[asyncio.Task[Any]] = set()
        self._stuck = 0

    async def make(self, call: Callable[[], Result], seconds: float | None) -> Result:
        """Make a call. Raises its errors, and `StoreUnavailable` after `seconds`.

        With None there is no deadline. A call that was cut may have been committed; see
        `StoreUnavailable.in_doubt`. One that is cancelled goes on in its thread until its deadline.
        """
        if self._stuck >= MAX_STUCK:
            raise _hangs(in_doubt=False)
        cuttable = Cuttable()
        executor = self._executor
        future: Future[Result] = executor.submit(cuttable.run, _translating(call))
        self._open[future] = cuttable
        future.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(seconds) as deadline:
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if future.cancelled():  # it never got a thread
                raise _hangs(in_doubt=False) from None
        except asyncio.CancelledError:
            if not future.done() and (at := deadline.when()) is not None:
                # No task: the loop itself may be ending just now.
                loop = asyncio.get_running_loop()
                loop.call_at(at, self._cut_abandoned, executor, future, cuttable)
            raise
        return await self._cut(executor, future, cuttable)

    async def close(self) -> None:
        """Wait for running calls, cut what does not end, and end the threads."""
        await self._drained(_CLOSE_SECONDS)
        for cuttable in list(self._open.values()):
            cuttable.cut()
        await self._drained(_LAST_SECONDS)
        self._executor.shutdown(wait=not self._open, cancel_futures=True)

    def _cut_abandoned(self, executor: Executor, future: "Future[Any]", cuttable: Cuttable) -> None:
        """Cut a call that nobody waits for, if it has not ended by its deadline."""
        if future.done():
            return
        cutting = asyncio.ensure_future(self._cut(executor, future, cuttable))
        self._cutting.add(cutting)
        cutting.add_done_callback(self._cutting.discard)
        cutting.add_done_callback(_forget)

    async def _cut(
        self, executor: Executor, future: "Future[Result]", cuttable: Cuttable
    ) -> Result:
        cuttable.cut()
        ending = asyncio.wrap_future(future)
        await asyncio.wait([ending], timeout=_LAST_SECONDS)
        if ending.done():
            try:
                return ending.result()  # it may have ended just in time
            except StoreUnavailable as error:
                raise _hangs(in_doubt=error.in_doubt) from error
        ending.add_done_callback(_forget)
        self._give_up(executor, future)
        raise _hangs(in_doubt=True)

    def _give_up(self, executor: Executor, future: "Future[Any]") -> None:
        """Give up a stuck thread, and continue with new ones."""
        self._stuck += 1
        log.error("a call of the database hangs; its thread is given up (%s)", self._name)
        future.add_done_callback(self._came_back)
        if executor is self._executor:
            self._executor = self._executors(self._number, self._name)
            executor.shutdown(wait=False)
        self._on_stuck()

    def _came_back(self, _future: "Future[Any]") -> None:
        self._stuck -= 1

    def _ended(self, future: "Future[Any]") -> None:
        self._open.pop(future, None)

    async def _drained(self, seconds: float) -> None:
        waiting = [asyncio.wrap_future(future) for future in list(self._open)]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)
            for future in waiting:
                future.add_done_callback(_forget)


def patiently(call: Callable[[], Result]) -> Callable[[], Result]:
    """Return a reading call that is repeated once if an old connection was cut."""

    def again() -> Result:
        try:
            return call()
        except StoreUnavailable as error:
            if not error.was_cut:
                raise
            return call()

    return again


def _translating(call: Callable[[], Result]) -> Callable[[], Result]:
    """Return a call whose errors are either a command's fault, or `StoreUnavailable`."""

    def translating() -> Result:
        try:
            return call()
        except DBAPIError as error:
            if blames_command(error):
                raise
            raise unavailable(error) from error

    return translating


def _hangs(*, in_doubt: bool) -> StoreUnavailable:
    error = StoreUnavailable(HANGS)
    error.in_doubt = in_doubt
    return error


def _forget(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()
