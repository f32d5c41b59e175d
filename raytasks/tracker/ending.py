"""The end of the tracker's process: whatever happens on the way to it, it comes."""

import faulthandler
import logging
import os
import time

log = logging.getLogger(__name__)

RESTART_SECONDS = 3.0
"""How long a process lives at least that fails: it fails again in the next one, maybe for ever."""

_MAX_SECONDS = 5.0


def end_process(message: str, error: BaseException | None = None, *, pause: float = 0.0) -> None:
    """Log why this process ends, and end it, after a pause of some seconds; it never returns.

    A log that cannot be written, or that blocks, does not keep it: then a thread of the
    interpreter's own ends it a few seconds later.
    """
    try:
        # Not a thread of Python: that needs the interpreter's lock, and room for one more.
        faulthandler.dump_traceback_later(pause + _MAX_SECONDS, exit=True, file=2)
        log.error(message, exc_info=error)
        logging.shutdown()
        time.sleep(pause)
    finally:
        os._exit(1)
