"""The thread of a runner's process in which its exchange loop lives."""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

log = logging.getLogger(__name__)

_BROKEN_SECONDS = 5.0


class RunnerHost:
    """Runs `main` on an event loop in a thread of its own, and ends the process after it.

    A runner's process ends when it has left, and Ray starts it again: fresh memory, fresh
    threads. When `main` fails, e.g. as a handler module cannot be imported, the process ends
    too, after some seconds: an actor whose constructor raises would never be started again.
    """

    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._main = main
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
        try:
            self.loop.run_until_complete(self._main())
        except BaseException:
            log.exception("the runner failed, and will be started again")
            threading.Event().wait(_BROKEN_SECONDS)
        finally:
            end_process(0)


def end_process(code: int) -> NoReturn:
    """End this process at once, whatever its threads do."""
    logging.shutdown()
    os._exit(code)
