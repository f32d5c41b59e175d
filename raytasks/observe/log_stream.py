"""The stream of the service's log: its newest lines, for whoever reads it or writes it out."""

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import takewhile

from raytasks.observe.log_record import FieldValue
from raytasks.protocol.service_log import MAX_LINES, RANKS, LogFilter, LogPage, ServiceLine

KEPT_LINES = 10_000
"""Number of lines that are kept."""

KEPT_BYTES = 8 * 1024 * 1024
"""Approximate bytes of the lines that are kept."""

MAX_CHARACTERS = 8000
"""Maximum number of characters of a message."""

GATHER_SECONDS = 0.2
"""Seconds for which lines are gathered for who waits for one. A call for each line would cost the
tracker more than the line's task did."""

_LINE_BYTES = 200  # of a line without its texts

ALL = LogFilter()
"""The filter that takes every line."""

Output = Callable[[ServiceLine], None]
_Wake = tuple[asyncio.AbstractEventLoop, asyncio.Event]


class LogStream:
    """The newest lines of one process's log. Lines may come from any thread.

    `clock` returns seconds since the epoch. Each of the `outputs` gets every line, at once, in the
    thread that writes it: it must not wait. Lines below `level` are left out.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        lines: int = KEPT_LINES,
        size: int = KEPT_BYTES,
    ) -> None:
        self.stream = int(clock() * 1000)
        self.level = RANKS["INFO"]
        self.outputs: list[Output] = []
        self._clock = clock
        self._kept_lines, self._kept_bytes = lines, size
        self._lines: deque[ServiceLine] = deque()
        self._bytes = 0
        self._last = 0
        self._lost = 0  # the number of the newest line that is gone
        self._wakes: list[_Wake] = []
        self._lock = threading.Lock()

    def wants(self, level: str) -> bool:
        """Return whether lines of a level are written."""
        return RANKS.get(level, self.level) >= self.level

    def write(
        self,
        level: str,
        message: str,
        fields: Mapping[str, FieldValue | None] | None = None,
        *,
        at: float | None = None,
    ) -> None:
        """Write a line, if its level is wanted. A field that is None is left out.

        `at` is its time; by default it is now.
        """
        if not self.wants(level):
            return
        given = {name: value for name, value in (fields or {}).items() if value is not None}
        with self._lock:
            self._last += 1
            line = ServiceLine(
                self._last,
                self._clock() if at is None else at,
                level,
                message[:MAX_CHARACTERS],
                given,
            )
            self._keep(line)
            wakes, self._wakes = self._wakes, []
        for output in self.outputs:
            output(line)
        for loop, event in wakes:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(event.set)

    def _keep(self, line: ServiceLine) -> None:
        self._lines.append(line)
        self._bytes += _size(line)
        while len(self._lines) > self._kept_lines or self._bytes > self._kept_bytes:
            if len(self._lines) == 1:
                return
            gone = self._lines.popleft()
            self._bytes -= _size(gone)
            self._lost = gone.number

    def newest(self, number: int, wanted: LogFilter = ALL) -> LogPage:
        """Return the newest lines that match: at most `number`, the oldest of them first."""
        most = min(number, MAX_LINES)
        with self._lock:
            last = self._last
            found: list[ServiceLine] = []
            for line in reversed(self._lines):
                if len(found) >= most:
                    break
                if wanted.takes(line):
                    found.append(line)
        return LogPage(self.stream, last, tuple(reversed(found)))

    def since(self, stream: int, after: int, wanted: LogFilter = ALL) -> LogPage:
        """Return the lines after number `after` of a stream that match, at once.

        For the number of another stream it begins with the oldest line, after a gap.
        """
        other = stream != self.stream
        with self._lock:
            if other or after > self._last:
                after, other = 0, True
            gap = other or after < self._lost
            recent = list(takewhile(lambda line: line.number > after, reversed(self._lines)))
            last = self._last
        found: list[ServiceLine] = []
        for line in reversed(recent):
            if len(found) >= MAX_LINES:
                return LogPage(self.stream, found[-1].number, tuple(found), gap=gap, more=True)
            if wanted.takes(line):
                found.append(line)
        return LogPage(self.stream, last, tuple(found), gap=gap)

    async def wait(
        self,
        stream: int,
        after: int,
        seconds: float,
        wanted: LogFilter = ALL,
    ) -> LogPage:
        """Return the lines after `after` if one matches, or wait for one up to `seconds`.

        After a wait, lines are gathered for `GATHER_SECONDS`.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    with self._waking() as news:
                        page = self.since(stream, after, wanted)
                        if page.lines or page.gap:
                            return page
                        await news.wait()
                    await asyncio.sleep(GATHER_SECONDS)
        return self.since(stream, after, wanted)

    @contextlib.contextmanager
    def _waking(self) -> Iterator[asyncio.Event]:
        """Yield an event that the next line sets."""
        wake = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._wakes.append(wake)
        try:
            yield wake[1]
        finally:
            with self._lock:
                if wake in self._wakes:
                    self._wakes.remove(wake)


def _size(line: ServiceLine) -> int:
    texts = (value for value in line.fields.values() if isinstance(value, str))
    return _LINE_BYTES + len(line.message) + sum(map(len, texts))
