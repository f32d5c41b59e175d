"""The worker thread of a warm runner: it runs attempts one by one, and can be interrupted."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from raytasks.handling.context import Channel
from raytasks.handling.registry import Registry
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.failure_hook import call_on_failure
from raytasks.runner.handler_instances import HandlerInstances
from raytasks.runner.host import end_process
from raytasks.runner.interrupt import AttemptStopped, interrupt_thread, take_interrupt
from raytasks.runner.stop import StopReason
from raytasks.runner.workplace import Workplace

REPORT_SECONDS = 0.025
"""How long outcomes of short attempts are collected before they are reported together."""

STILL_SECONDS = 30.0
"""How long claims may wait while no attempt runs. After that the thread counts as broken."""

LAST_SECONDS = 2.0
"""How long a process whose worker thread has failed may still report outcomes."""

_EARLY_STOPS = 1000


class Worker:
    """Runs attempts in one thread. It calls `notify` whenever there are outcomes to take.

    `channel` makes the channel of an attempt's context. All methods may be called from any thread.
    """

    def __init__(
        self,
        registry: Registry,
        workplace: Workplace,
        channel: Callable[[Attempt], Channel],
        notify: Callable[[], None],
    ) -> None:
        self._registry = registry
        self._workplace = workplace
        workplace.middleware = registry.middleware
        self._channel = channel
        self._notify = notify
        self._instances = HandlerInstances(registry, workplace.home)
        self._queue: deque[Claim] = deque()
        self._outcomes: deque[Outcome] = deque()
        self._ready = threading.Condition()
        self._border = threading.Lock()
        self._interruptible = False
        self._interrupted = False
        self.current: Attempt | None = None
        self._early_stops: deque[tuple[str, int]] = deque(maxlen=_EARLY_STOPS)
        self.done = 0
        self.loaded = False
        self.unfit: str | None = None
        self.withheld: list[Outcome] = []
        """The outcome that counts only when the process has ended: its attempt left threads."""
        self._moved_at = time.monotonic()
        self._thread = threading.Thread(target=self._run_for_ever, name="attempts", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread still works, so that queued attempts will begin."""
        if not self._thread.is_alive():
            return False
        waits = self.loaded and self.queued and self.current is None and self.unfit is None
        return not waits or time.monotonic() - self._moved_at < STILL_SECONDS

    @property
    def thread_id(self) -> int | None:
        """Python's id of the thread."""
        return self._thread.ident

    @property
    def queued(self) -> int:
        """How many attempts are queued behind the present one."""
        return len(self._queue)

    def add(self, claims: Sequence[Claim]) -> None:
        """Queue attempts."""
        with self._ready:
            if not self._queue:
                self._moved_at = time.monotonic()
            self._queue.extend(claims)
            self._ready.notify()

    def take_outcomes(self) -> list[Outcome]:
        """Return the outcomes since the last call."""
        outcomes = []
        while self._outcomes:
            outcomes.append(self._outcomes.popleft())
        return outcomes

    def take_back(self, task_id: str | None = None) -> list[Claim]:
        """Remove queued attempts that have not begun, and return them: one task's, or all."""
        with self._ready:
            taken = [claim for claim in self._queue if task_id in (None, claim.task_id)]
            self._queue = deque(claim for claim in self._queue if claim not in taken)
        return taken

    def stop_early(self, task_id: str, attempt: int) -> None:
        """Stop an attempt as soon as it begins, in case it has just left the queue."""
        with self._border:
            self._early_stops.append((task_id, attempt))

    def order_stop(self, attempt: Attempt, reason: StopReason) -> None:
        """Order the attempt to stop: its context says so from now on."""
        attempt.stop.order(reason, self._workplace.now())

    def interrupt(self, attempt: Attempt) -> None:
        """Throw an exception into the attempt's code, if it still runs.

        The exception does not reach code that waits in C, e.g. for Ray tasks that the attempt has
        started. So those are cancelled.
        """
        with self._border:
            if self.current is not attempt or not self._interruptible:
                return
            if self._workplace.children is not None:
                self._workplace.children.cancel()  # the attempt may wait for them
            task = self._workplace.handler_loop.task
            if task is not None:
                task.get_loop().call_soon_threadsafe(task.cancel)
            elif self._thread.ident is not None:
                self._interrupted = True
                interrupt_thread(self._thread.ident)

    def _run_for_ever(self) -> None:
        try:
            self._workplace.enter()
            self._instances.load()
            self.loaded = True
            self._notify()
            self._work()
        except BaseException as error:  # else nothing would run here, unnoticed
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """End the process. Before that, report outcomes and give back what has not begun."""
        try:
            self.unfit = "the thread of the attempts has failed"
            self._notify()
            threading.Event().wait(LAST_SECONDS)
        finally:
            end_process(1, "the thread of the attempts has failed", error)

    def _work(self) -> None:
        reported_at = 0.0
        while self.unfit is None:
            with self._ready:
                if not self._queue:
                    while not self._queue:
                        self._ready.wait()
                    reported_at = time.monotonic()
                claim = self._queue.popleft()
            outcome = self._run(claim)
            left_threads = self._workplace.handler_loop.threads.count > 0
            (self.withheld if left_threads else self._outcomes).append(outcome)
            self.done += 1
            self.unfit = self._workplace.unfit()
            if left_threads:
                self.unfit = self.unfit or "threads of a handler do not end"
            now = self._moved_at = time.monotonic()
            if self.unfit or not self._queue or now - reported_at > REPORT_SECONDS:
                reported_at = now
                self._notify()
        threading.Event().wait()  # the runner leaves, and then this process ends

    def _run(self, claim: Claim) -> Outcome:
        attempt = Attempt(self._registry.require(claim.task_type), claim, self._workplace)
        try:
            try:
                with self._border:
                    self.current, self._interruptible = attempt, True
                    stopped = (claim.task_id, claim.attempt) in self._early_stops
                if stopped:
                    self.order_stop(attempt, StopReason.CANCEL)
                    return attempt.stopped()
                return self._call(attempt)
            finally:
                with self._border:
                    self.current, self._interruptible = None, False
                    interrupted, self._interrupted = self._interrupted, False
                    if interrupted:
                        take_interrupt()
        except AttemptStopped:  # thrown just as the handler ended
            self.current = None
            if attempt.over:
                return attempt.stopped()
            [outcome] = call_on_failure([(attempt, attempt.stopped())])
            return outcome

    def _call(self, attempt: Attempt) -> Outcome:
        try:
            handler = self._instances.of(attempt.spec)
        except BaseException as error:
            if attempt.stop.reason:
                return attempt.stopped()
            attempt.use(self._channel(attempt))
            [outcome] = call_on_failure([(attempt, attempt.failed(error))])
            return outcome
        return attempt.run(handler, self._channel(attempt))
