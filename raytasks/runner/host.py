"""The thread of a runner's process that runs its exchange loop, and how the process ends."""

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from raytasks.model.lines import named_line
from raytasks.runner.error_report import describe_error

log = logging.getLogger(__name__)

LOG_SECONDS = 2.0
"""How long a process that ends may take to log the reason."""

_BROKEN_SECONDS = 5.0
_ASKED_SECONDS = 1.0


class RunnerHost:
    """Runs `main` on an event loop in a thread of its own, and ends the process after it.

    When the runner has left, its process ends and Ray starts it again: fresh memory, fresh threads.
    When `main` fails, e.g. at the import of a handler module, the process ends too, after some
    seconds. It fails here, since Ray never restarts an actor whose constructor raises.
    """

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._main = main
        self.failure: str | None = None
        """The error by which `main` failed, as one line; None if it has not failed."""
        self.asked = threading.Event()
        """Set once the pool knows of this process: from then on its death is noticed."""
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="exchange", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the host's loop, from another loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.asked.wait(_ASKED_SECONDS)
        try:
            self.loop.run_until_complete(self._main())
        except BaseException as error:
            self.failure = named_line(error)
            last_words("the runner failed, and will be started again", error)
            threading.Event().wait(_BROKEN_SECONDS)
        finally:
            end_process(0)


def end_process(code: int, why: str | None = None, error: BaseException | None = None) -> NoReturn:
    """End this process, whatever its threads do, and whatever fails on the way.

    Before that, log `why` and the error, if that works within `LOG_SECONDS`.
    """
    try:
        last_words(why, error, shutdown=True)
    finally:
        os._exit(code)


def last_words(why: str | None, error: BaseException | None, *, shutdown: bool = False) -> None:
    """Log why this process has failed. Raises nothing, and takes at most `LOG_SECONDS`.

    Logging can fail: a closed stream, an error that cannot be printed. It can also block for ever:
    a full pipe, a lock that is never released. So it has a thread of its own.
    """
    with contextlib.suppress(Exception):
        speaking = threading.Thread(target=_speak, args=(why, error, shutdown), daemon=True)
        speaking.start()
        speaking.join(LOG_SECONDS)


def _speak(why: str | None, error: BaseException | None, shutdown: bool) -> None:
    with contextlib.suppress(BaseException):
        if why is not None:
            log.error("%s: %s", why, describe_error(error, retryable=False) if error else "")
    with contextlib.suppress(BaseException):
        if shutdown:
            logging.shutdown()
