"""The work side of a warm runner: its worker thread and the watch over it. No Ray in it."""

import asyncio
import logging
import resource
import sys
import time
from collections.abc import Mapping, Sequence

from raytasks.handling.registry import Registry
from raytasks.model.states import OutcomeKind
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.host import end_process
from raytasks.runner.nested import WaitNotice
from raytasks.runner.stacks import stack_text
from raytasks.runner.stop import StopReason
from raytasks.runner.warm_channel import LogRelay, WarmChannel
from raytasks.runner.worker import Worker
from raytasks.runner.workplace import Workplace

log = logging.getLogger(__name__)

ROOM = 256
"""How many attempts are queued in a warm runner at most. The tracker gives fewer long ones."""

LINGER_SECONDS = 0.02
"""How long the runner keeps its news while it runs the last queued attempts.

Outcomes of short attempts then go with the next call, and need none of their own.
"""

WATCH_SECONDS = 0.1
"""The time between two looks at the running attempt."""

STUCK_SECONDS = 1.0
"""How long an attempt may run before those queued behind it are given back."""

ASK_SECONDS = 1.0
"""How long an attempt may take to stop by itself before it is interrupted."""

INTERRUPT_SECONDS = 4.0
"""How long an interrupted attempt may take to stop before its process is ended."""


LEAVE_SECONDS = 10.0
"""How long a runner whose process is unfit tries to report the outcomes of its attempts."""


class WarmWork:
    """Passes claims to the worker and outcomes to the exchange loop, and stops what must stop.

    A cancel or a timeout has three steps. First the context says so. Then an exception is thrown
    into the handler. Then the runner tells the outcome and leaves, so that its process ends. The
    outcome counts when it has ended, so that no retry runs beside it.
    """

    def __init__(
        self, registry: Registry, workplace: Workplace, *, max_tasks: int, max_memory_bytes: int
    ) -> None:
        self._registry = registry
        self._workplace = workplace
        self._max_tasks = max_tasks
        self._max_memory_bytes = max_memory_bytes
        self._event_loop = asyncio.get_running_loop()
        self._worker = Worker(registry, workplace, self._channel, self._notify)
        self._exchange: ExchangeLoop | None = None
        self._watch_task: asyncio.Task[None] | None = None
        self._interrupted: Attempt | None = None
        self._loaded_memory: int | None = None
        self._waits = WaitNotice()
        self.lines = LogRelay(self._event_loop)
        self._unfit = False
        self._over = False

    def begin(self, exchange: ExchangeLoop) -> None:
        """Start the worker; its outcomes go to this exchange loop."""
        self._exchange = exchange
        self.lines.exchange = exchange
        self._worker.start()

    def is_alive(self) -> bool:
        """Return whether the worker still works, so that queued attempts will run."""
        return self._worker.is_alive

    @property
    def loaded(self) -> bool:
        """Whether the handlers are loaded."""
        return self._worker.loaded

    def capacity_by_type(self) -> Mapping[str, int]:
        """Return how many more attempts of each type fit; empty before the handlers are loaded."""
        types = self._registry.task_types if self._worker.loaded else ()
        return dict.fromkeys(types, self.capacity())

    def capacity(self) -> int:
        """Return how many more attempts fit: 0 behind one that has run for `STUCK_SECONDS`."""
        if not self._worker.loaded or self._is_stuck():
            return 0
        return max(0, ROOM - self._worker.queued)

    def start(self, claims: Sequence[Claim]) -> None:
        """Queue attempts."""
        self._worker.add(claims)
        if self._watch_task is None or self._watch_task.done():
            self._watch_task = self._event_loop.create_task(self._watch())

    def stop(self, task_id: str, attempt: int) -> None:
        """Stop an attempt: queued, running, or just about to begin."""
        self._worker.stop_early(task_id, attempt)
        taken = self._worker.take_back(task_id)
        self._loop.not_begun(taken, OutcomeKind.CANCELLED)
        current = self._worker.current
        if current is not None and (task_id, attempt) == (
            current.claim.task_id,
            current.claim.attempt,
        ):
            self._worker.order_stop(current, StopReason.CANCEL)

    def waits_for(self) -> str | None:
        """Return the task that the present attempt waits for, or None. See `WaitNotice.of`."""
        return self._waits.of(self._worker.current)

    def stack(self, task_id: str, attempt: int) -> str | None:
        """Return the stack of an attempt; None if it does not run now. From any thread."""
        current, thread_id = self._worker.current, self._worker.thread_id
        if current is None or thread_id is None:
            return None
        if (current.claim.task_id, current.claim.attempt) != (task_id, attempt):
            return None
        return stack_text(current, thread_id)

    def look(self) -> None:
        """Look at the running attempt, and take the next step if it should have stopped."""
        attempt = self._worker.current
        if attempt is None:
            return
        if self._waits.look(attempt, self._worker.thread_id, time.monotonic()):
            self._loop.changed()
        now = self._workplace.now()
        if self._is_stuck() and self._worker.queued:
            self._give_back()
        if attempt.over:
            return
        if attempt.deadline is not None and now >= attempt.deadline:
            self._worker.order_stop(attempt, StopReason.TIMEOUT)
        asked_at = attempt.stop.ordered_at
        if asked_at is None:
            return
        if now - asked_at > ASK_SECONDS + INTERRUPT_SECONDS:
            if not self._over:
                self._over = True
                self.lines.pass_on()
                self._leave(with_last=[attempt.stopped()])
        elif now - asked_at > ASK_SECONDS and self._interrupted is not attempt:
            self._interrupted = attempt
            self._worker.interrupt(attempt)

    def _is_stuck(self) -> bool:
        attempt = self._worker.current
        if attempt is None:
            return False
        return self._workplace.now() - attempt.started_at > STUCK_SECONDS

    @property
    def _loop(self) -> ExchangeLoop:
        if self._exchange is None:
            raise RuntimeError("the work has not begun")
        return self._exchange

    async def _watch(self) -> None:
        # An abandoned attempt is no longer held, but must be stopped too.
        while self._loop.held or self._worker.current is not None:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                self.look()
            except Exception:
                log.exception("the running attempt could not be looked at; trying again")

    def _notify(self) -> None:
        try:
            self._event_loop.call_soon_threadsafe(self._collect)
        except RuntimeError:
            if not self._event_loop.is_closed():
                raise  # a closed loop: the runner is over, and its host ends the process

    def _collect(self) -> None:
        if self._loaded_memory is None:
            self._loaded_memory = peak_memory_bytes()
        outcomes = self._worker.take_outcomes()
        self.lines.pass_on()  # their log lines must come before their outcomes
        self._loop.finished(outcomes)
        grown = peak_memory_bytes() - self._loaded_memory
        if self._worker.unfit is not None and not self._unfit:
            self._unfit = True
            log.warning("this process is of no use any more: %s", self._worker.unfit)
            self._event_loop.call_later(LEAVE_SECONDS, end_process, 1)
            self._leave(with_last=self._worker.withheld)
        elif self._worker.done >= self._max_tasks or grown > self._max_memory_bytes:
            self._leave()

    def _leave(self, with_last: Sequence[Outcome] = ()) -> None:
        """Take no more; the outcomes `with_last` count when the process has ended."""
        self._give_back()
        if with_last:
            self._loop.end_with(with_last)
        else:
            self._loop.leave()

    def _give_back(self) -> None:
        taken = self._worker.take_back()
        self._loop.not_begun(taken, OutcomeKind.RELEASED)

    def _channel(self, attempt: Attempt) -> WarmChannel:
        return WarmChannel(attempt, self.lines, self._loop, self._event_loop)


def peak_memory_bytes() -> int:
    """Return the peak resident memory of this process, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
