"""The way of an attempt's reports from its thread to the exchange loop of its runner."""

import asyncio
import concurrent.futures
from collections import deque

from raytasks.handling.context import Cancelled
from raytasks.model.task_events import LogLine
from raytasks.protocol.messages import Claim
from raytasks.runner.attempt import Attempt
from raytasks.runner.exchange_loop import ExchangeLoop


class LogRelay:
    """The relay of the lines that attempts have logged, to the exchange loop `exchange`.

    `add` may be called from any thread. Lines must be passed on before the outcome of their
    attempt.
    """

    def __init__(self, event_loop: asyncio.AbstractEventLoop) -> None:
        self.exchange: ExchangeLoop | None = None
        self._event_loop = event_loop
        self._lines: deque[tuple[str, int, LogLine]] = deque()
        self._scheduled = False

    def add(self, claim: Claim, line: LogLine) -> None:
        """Take a line of an attempt, and pass it on soon."""
        self._lines.append((claim.task_id, claim.attempt, line))
        if not self._scheduled:
            self._scheduled = True
            self._event_loop.call_soon_threadsafe(self.pass_on)

    def pass_on(self) -> None:
        """Pass on all lines now. Call it on the event loop."""
        self._scheduled = False
        while self._lines and self.exchange is not None:
            task_id, attempt, line = self._lines.popleft()
            self.exchange.log(task_id, attempt, [line])


class WarmChannel:
    """The channel of an attempt in a warm runner, from its thread to the event loop."""

    def __init__(
        self,
        attempt: Attempt,
        lines: LogRelay,
        exchange: ExchangeLoop,
        event_loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._attempt = attempt
        self._lines = lines
        self._exchange = exchange
        self._event_loop = event_loop
        self._fraction: float | None = None
        self._message: str | None = None
        self._scheduled = False

    def progress(self, fraction: float | None, message: str | None) -> None:
        """Pass on how far the attempt has come. Many calls in a row become one."""
        self._fraction = self._fraction if fraction is None else fraction
        self._message = self._message if message is None else message
        if not self._scheduled:
            self._scheduled = True
            self._event_loop.call_soon_threadsafe(self._send)

    def checkpoint(self, data: str) -> None:
        """Return when the checkpoint is on disk. Raises `Cancelled` if the attempt must stop."""
        claim = self._attempt.claim
        kept, ref = self._attempt.externalize_checkpoint(data)
        sent = asyncio.run_coroutine_threadsafe(
            self._exchange.checkpoint(claim.task_id, claim.attempt, kept, ref), self._event_loop
        )
        self._attempt.saving = True
        try:
            while True:
                try:
                    return sent.result(timeout=0.2)
                except concurrent.futures.CancelledError:
                    raise Cancelled from None
                except TimeoutError:
                    if self.cancelled():
                        sent.cancel()
                        raise Cancelled from None
        finally:
            self._attempt.saving = False

    def log(self, line: LogLine) -> None:
        """Pass on a log line."""
        self._lines.add(self._attempt.claim, line)

    def cancelled(self) -> bool:
        """Return whether the attempt was told to stop."""
        return self._attempt.stop.reason is not None

    def _send(self) -> None:
        self._scheduled = False
        self._exchange.progress(self._attempt.claim.task_id, self._fraction, self._message)
