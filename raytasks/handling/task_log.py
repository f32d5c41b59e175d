"""The log of a handler: its lines are kept with the task, and go to the service's log."""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from raytasks.model.task_events import LogLine

MAX_LINES = 1000
"""Maximum number of kept lines of an attempt. One more line says that others were dropped."""

MAX_CHARACTERS = 4000
"""Maximum number of kept characters of a line."""

DROPPED = f"further lines of this attempt were dropped: {MAX_LINES} are kept"

_LEVEL_LENGTH = 10


def clean(text: str) -> str:
    """Return the text without characters that UTF-8 or PostgreSQL cannot hold."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


class TaskLog(logging.LoggerAdapter[logging.Logger]):
    """A logger for one attempt. `keep` gets each line to keep, numbered from 1.

    Lines at INFO or above are kept, whatever level Python's logging has. It may be called from any
    thread. `written` is how many lines the attempt has already.
    """

    def __init__(
        self,
        task_type: str,
        extra: Mapping[str, object],
        keep: Callable[[LogLine], None],
        *,
        clock: Callable[[], float] = time.time,
        written: int = 0,
    ) -> None:
        super().__init__(logging.getLogger(f"raytasks.handlers.{task_type}"), extra)
        self._keep = keep
        self._clock = clock
        self._written = written
        self._lock = threading.Lock()

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a line, and keep it."""
        wanted = self.logger.isEnabledFor(level)
        if level >= logging.INFO or wanted:
            self._write(level, msg, args, kwargs.get("exc_info"))
        if wanted:
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1  # this frame is not the caller's
            with contextlib.suppress(Exception):  # a log error must not fail an attempt
                super().log(level, msg, *args, **kwargs)

    def _write(self, level: int, msg: object, args: Any, exc_info: Any) -> None:
        with self._lock:
            if self._written > MAX_LINES:
                return
            self._written += 1
            number = self._written
            if number > MAX_LINES:
                level, text = logging.WARNING, DROPPED
            else:
                text = _text(level, msg, args, exc_info)
            name = clean(logging.getLevelName(level)[:_LEVEL_LENGTH])
            text = clean(text[:MAX_CHARACTERS])[:MAX_CHARACTERS]
            self._keep(LogLine(number, self._clock(), name, text))


def _text(level: int, msg: object, args: Any, exc_info: Any) -> str:
    """Return the text that Python's logging would write, without its prefix."""
    if isinstance(exc_info, BaseException):
        exc_info = (type(exc_info), exc_info, exc_info.__traceback__)
    elif exc_info and not isinstance(exc_info, tuple):
        exc_info = sys.exc_info()
    try:
        text = logging.LogRecord("", level, "", 0, msg, args, None).getMessage()
    except Exception:  # logging itself reports it, and continues
        text = _or_else(lambda: repr(msg), "(a line that cannot be written)")
    if exc_info and exc_info[0] is not None:
        text += "\n" + _or_else(
            lambda: logging.Formatter().formatException(exc_info),
            "(an error whose traceback cannot be printed)",
        )
    return f"{text}"


def _or_else(text: Callable[[], str], otherwise: str) -> str:
    try:
        return text()
    except Exception:
        return otherwise
