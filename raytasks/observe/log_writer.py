"""The writer of the service's log: a thread that writes the lines to standard error and a file."""

import contextlib
import sys
import threading
import time
from collections import deque

from raytasks.observe.log_file import LogFile
from raytasks.observe.log_format import Render
from raytasks.protocol.service_log import ServiceLine

MAX_WAITING = 20_000
"""Maximum number of lines that wait to be written. Further ones are dropped, and counted."""

_GATHER_SECONDS = 0.05  # lines that come within this time are written together
_FLUSH_SECONDS = 2.0


class LogWriter:
    """An output of a `LogStream`. Lines are rendered and written in a thread of its own.

    `flush` writes at once what waits: call it before the process ends.
    """

    def __init__(self, render: Render, file: LogFile | None) -> None:
        self._render = render
        self._file = file
        self._waiting: deque[ServiceLine] = deque()
        self._dropped = 0
        self._told: str | None = None
        self._news = threading.Event()
        self._closing = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="raytasks-log", daemon=True)
        self._thread.start()

    def __call__(self, line: ServiceLine) -> None:
        """Take a line. It is written soon."""
        if len(self._waiting) >= MAX_WAITING:
            self._dropped += 1
            return
        self._waiting.append(line)
        if not self._news.is_set():
            self._news.set()

    def set_output(self, render: Render, file: LogFile | None) -> None:
        """Write further lines in this format, and to this file."""
        self.flush()
        with self._writing:
            former, self._file, self._render = self._file, file, render
        if former is not None and former is not file:
            former.close()

    def flush(self) -> None:
        """Write what waits. Gives up when another write blocks for seconds."""
        if not self._writing.acquire(timeout=_FLUSH_SECONDS):
            return
        try:
            self._write()
        finally:
            self._writing.release()

    def close(self) -> None:
        """Write what waits, and end the thread."""
        self._closing.set()
        self._news.set()
        self._thread.join(_FLUSH_SECONDS)
        self.flush()
        if self._file is not None:
            self._file.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._news.wait()
            self._closing.wait(_GATHER_SECONDS)
            self._news.clear()
            with self._writing:
                self._write()

    def _write(self) -> None:
        lines = []
        while self._waiting:
            lines.append(self._waiting.popleft())
        if not lines:
            return
        dropped, self._dropped = self._dropped, 0
        if dropped:
            told = f"{dropped} lines of the log were dropped: it could not be written fast enough"
            lines.append(ServiceLine(0, time.time(), "WARNING", told))
        text = "".join(self._render(line) + "\n" for line in lines)
        if self._file is not None:
            self._file.write(text)
            text += self._trouble(self._file.trouble)
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            sys.stderr.write(text)
            sys.stderr.flush()

    def _trouble(self, trouble: str | None) -> str:
        """Return the line that says what is wrong with the file, when that has changed."""
        told, self._told = self._told, trouble
        if trouble is None or trouble == told:
            return ""
        line = ServiceLine(0, time.time(), "ERROR", f"RAYTASKS_LOG_FILE: {trouble}")
        return self._render(line) + "\n"
