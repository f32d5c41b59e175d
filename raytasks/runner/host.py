"""The thread of a runner's process in which its exchange loop lives."""

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
"""How long a process that ends may take to say why."""

_BROKEN_SECONDS = 5.0
_ASKED_SECONDS = 1.0


class RunnerHost:
    """Runs `main` on an event loop in a thread of its own, and ends the process after it.

    A runner's process ends when it has left, and Ray starts it again: fresh memory, fresh
    threads. When `main` fails, e.g. as a handler module cannot be imported, the process ends
    too, after some seconds: an actor whose constructor raises would never be started again.
    """

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._main = main
        self.failure: str | None = None
        """The end of the error by which `main` failed."""
        self.asked = threading.Event()
        """Set when somebody knows of this process: its death while it imports is noticed then."""
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

    `why` and the error are logged before, if that works within `LOG_SECONDS`.
    """
    try:
        last_words(why, error, shutdown=True)
    finally:
        os._exit(code)


def last_words(why: str | None, error: BaseException | None, *, shutdown: bool = False) -> None:
    """Log why this process has failed; raise nothing, and take no longer than `LOG_SECONDS`.

    Logging can fail (a closed stream, an error that cannot be printed), and it can wait for ever
    (a full pipe, a lock that nobody gives back): so it has a thread of its own.
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
