"""The service's log in the terminal of `raytasks up`."""

import threading
import time
from collections.abc import Callable

from raytasks.model.tasks import RaytasksError
from raytasks.observe.log_format import LogFormat
from raytasks.protocol.queries import LogLines
from raytasks.protocol.service_log import LogPage, ServiceLine

_POLL_SECONDS = 5.0
_AGAIN_SECONDS = 0.5
_END_SECONDS = 2.0
_COLORS = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}

Show = Callable[[str, str], None]
"""Shows a line in a color; the empty one is that of other text."""


class ShownLog:
    """A thread that shows each line of the tracker's log, from its first one on, until `stop`.

    `read` returns lines, and raises `RaytasksError` while no tracker answers. A tracker that was
    started again has a log of its own, which is shown from its first line on.
    """

    def __init__(self, read: Callable[[LogLines], LogPage], show: Show, line_format: str) -> None:
        self._read = read
        self._show = show
        self._render = LogFormat(line_format).render
        self._stopping = threading.Event()
        self._stream, self._after = 1, 0  # no tracker has this stream: all lines are asked for
        self._thread = threading.Thread(target=self._run, name="raytasks-shown-log", daemon=True)

    def start(self) -> None:
        """Begin to show lines."""
        self._thread.start()

    def stop(self) -> None:
        """Show no more lines, after those that are on their way."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._show_next()
            except RaytasksError:
                self._stopping.wait(_AGAIN_SECONDS)  # it is being started again, or stops
            except Exception as error:  # Ray has gone: `up` itself deals with that
                if not self._stopping.wait(_AGAIN_SECONDS):
                    self._tell(error)
                return

    def _show_next(self) -> None:
        asked = LogLines(self._stream, self._after, seconds=_POLL_SECONDS)
        page = self._read(asked)
        for line in page.lines:
            self._show(self._render(line), _COLORS.get(line.level, ""))
        self._stream, self._after = page.stream, page.last

    def _tell(self, error: Exception) -> None:
        message = f"the log is not shown any more: {type(error).__name__}"
        self._show(
            self._render(ServiceLine(0, time.time(), "WARNING", message)), _COLORS["WARNING"]
        )
