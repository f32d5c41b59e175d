"""Calls of a store from an event loop: each in a thread, and none without an end.

A database may hang: its server is frozen, its disk stands still, somebody holds a lock. A frozen
server cannot time itself out, so each call has a deadline here. After it the connection is cut
from this side, which ends the call in its thread; a thread that is stuck all the same is given up.
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
"""The deadline of a call that reads: an HTTP request is answered within ten seconds."""

WRITE_SECONDS = 15.0
"""The deadline of a call that writes: as long as the server may take for one statement."""

MAX_STUCK = 8
"""How many threads may be stuck; with so many, further calls fail at once."""

HANGS = "the database does not answer"

_LAST_SECONDS = 1.0  # for a call whose connection was cut
_CLOSE_SECONDS = 5.0

Executors = Callable[[int, str], Executor]
"""Makes what calls of the store run in: at most so many at a time, under a name."""


def threads(number: int, name: str) -> Executor:
    """Return threads of this process."""
    return ThreadPoolExecutor(number, thread_name_prefix=name)


class StoreCalls:
    """Makes calls of a store, at most `number` at a time, each with a deadline.

    `on_stuck` is called when a thread was given up: its connection does not come back.
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
        self._stuck = 0

    async def make(self, call: Callable[[], Result], seconds: float | None) -> Result:
        """Make a call. Raises what it raises, and `StoreUnavailable` after so many seconds.

        None: there is no deadline. What was cut may have been committed; see
        `StoreUnavailable.in_doubt`.
        """
        if self._stuck >= MAX_STUCK:
            raise _hangs(in_doubt=False)
        cuttable = Cuttable()
        executor = self._executor
        future: Future[Result] = executor.submit(cuttable.run, _translating(call))
        self._open[future] = cuttable
        future.add_done_callback(self._ended)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            if future.cancelled():  # it waited for a thread all the time
                raise _hangs(in_doubt=False) from None
        return await self._cut(executor, future, cuttable)

    async def close(self) -> None:
        """Wait for the calls that are being made, and end the threads."""
        await self._drained(_CLOSE_SECONDS)
        for cuttable in list(self._open.values()):
            cuttable.cut()
        await self._drained(_LAST_SECONDS)
        self._executor.shutdown(wait=not self._open, cancel_futures=True)

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
        """Leave a thread that is stuck, and go on with others."""
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
    """Return a call that reads, made once more if its connection was an old one, and is cut."""

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
