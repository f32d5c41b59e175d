"""The end of the tracker's process. It comes even if a step on the way to it fails or blocks."""

import faulthandler
import logging
import os
import time

log = logging.getLogger(__name__)

RESTART_SECONDS = 3.0
"""Minimum seconds that a failing process lives: the next one may fail too, again and again."""

_MAX_SECONDS = 5.0


def end_process(message: str, error: BaseException | None = None, *, pause: float = 0.0) -> None:
    """Log why this process ends, and end it after `pause` seconds; never returns.

    A log that blocks or cannot be written does not prevent the end. A thread of the interpreter
    itself then ends the process a few seconds later.
    """
    try:
        # Not a Python thread: that needs the interpreter's lock, and room for one more thread.
        faulthandler.dump_traceback_later(pause + _MAX_SECONDS, exit=True, file=2)
        log.error(message, exc_info=error)
        logging.shutdown()
        time.sleep(pause)
    finally:
        os._exit(1)
