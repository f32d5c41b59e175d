"""A runner in this process that claims an attempt only when the test says so."""

import asyncio
import concurrent.futures
import contextlib
import queue
from collections.abc import Mapping, Sequence

from raytasks.handling.context import Cancelled
from raytasks.model.handler_info import SHARED_POOL
from raytasks.model.states import OutcomeKind
from raytasks.model.task_events import LogLine
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.exchange_loop import ExchangeLoop
from raytasks.runner.identity import Identity
from raytasks.runner.stop import StopReason
from raytasks.testing.bench import NODE_ID, Bench
from raytasks.testing.loop import LoopThread
from raytasks.testing.notes import AttemptRun, NotingChannel
from raytasks.tracker.core import Tracker

PATIENCE = 30.0
"""How long the parts of the kit wait for each other, in real seconds, before it is an error."""


class InProcessRunner:
    """The exchange loop of a runner, across all its processes.

    It takes all types, one attempt at a time. It takes those of a batch one after the other, and
    runs them together.

    The exchange loop calls `start` and `stop`, in the tracker's event loop. All other methods
    belong to the test's thread.
    """

    def __init__(self, tracker: Tracker, bench: Bench, loop: LoopThread) -> None:
        self._tracker = tracker
        self._bench = bench
        self._loop = loop
        self._claims: queue.SimpleQueue[Claim] = queue.SimpleQueue()
        self._task_types: Sequence[str] = ()
        self._wanted: Sequence[str] = ()
        self._room = 0
        self._lives = 0
        self._name = ""
        self._exchange: ExchangeLoop | None = None
        self._talk: asyncio.Task[None] | None = None
        self.current: Sequence[Attempt] = ()

    def begin(self, task_types: Sequence[str]) -> None:
        """Start the first process, for these task types."""
        self._task_types = task_types
        self._loop.call(self._live(), PATIENCE)

    def run(self, attempts: Sequence[Attempt], losses: Sequence[int | None]) -> list[AttemptRun]:
        """Run claimed attempts in one call of their handler, and return when their end is on disk.

        The process dies after so many checkpoints of an attempt, if it is in `losses`.
        """
        self.current = attempts
        try:
            channels = [
                _Channel(self, attempt.claim, dies_after)
                for attempt, dies_after in zip(attempts, losses, strict=True)
            ]
            ended = self._bench.run(attempts, channels)
        finally:
            self.current = ()
        outcomes = [outcome for outcome, _ in ended]
        is_lost = any(outcome.kind is OutcomeKind.LOST for outcome in outcomes)
        self._loop.call(self._lose() if is_lost else self._finish(outcomes), PATIENCE)
        return [run for _, run in ended]

    def claim(self, task_type: str | None = None) -> Claim:
        """Claim the next task, of this type if it is given; one must be due."""
        self._wanted = self._task_types if task_type is None else [task_type]
        self._loop.call(self._ask(), PATIENCE)
        return self._claims.get(timeout=PATIENCE)

    def progress(self, claim: Claim, fraction: float | None, message: str | None) -> None:
        """Send the progress of the running attempt."""
        self._loop.post(self._present.progress, claim.task_id, fraction, message)

    def log(self, claim: Claim, line: LogLine) -> None:
        """Send a log line of the running attempt."""
        self._loop.post(self._present.log, claim.task_id, claim.attempt, [line])

    def checkpoint(self, claim: Claim, data: str) -> None:
        """Return when a checkpoint is on disk.

        Raises `Cancelled` if the attempt was given up.
        """
        saving = self._present.checkpoint(claim.task_id, claim.attempt, data)
        try:
            self._loop.call(saving, PATIENCE)
        except concurrent.futures.CancelledError:
            raise Cancelled from None

    def capacity_by_type(self) -> Mapping[str, int]:
        """Return the present capacity for each task type, in attempts."""
        return {name: self._room * (name in self._wanted) for name in self._task_types}

    def capacity(self) -> int:
        """Return the present capacity, in attempts."""
        return self._room

    def start(self, claims: Sequence[Claim]) -> None:
        """Take the attempt that the test has asked for."""
        self._room = 0
        for claim in claims:
            self._claims.put(claim)

    def stop(self, task_id: str, attempt: int) -> None:
        """Ask an attempt to stop: its context reports it from now on."""
        for current in self.current:
            if (task_id, attempt) == (current.claim.task_id, current.claim.attempt):
                current.stop.order(StopReason.CANCEL, current.workplace.now())

    @property
    def _present(self) -> ExchangeLoop:
        assert self._exchange is not None
        return self._exchange

    async def _live(self) -> None:
        """Begin a new process after the last one."""
        self._lives += 1
        self._name = f"test-process-{self._lives}"
        self._bench.start_process(self._name)
        identity = Identity(self._name, "test-runner", SHARED_POOL, "test", NODE_ID, self._name)
        self._exchange = ExchangeLoop(
            identity, self, self._tracker.exchange, clock=self._bench.clock, slots=True
        )
        self._talk = asyncio.ensure_future(self._exchange.run())

    async def _ask(self) -> None:
        self._room = 1
        self._present.changed()

    async def _finish(self, outcomes: Sequence[Outcome]) -> None:
        self._present.finished(outcomes)
        await self._tracker.wait_until_idle(PATIENCE)

    async def _lose(self) -> None:
        """End the process as a crash does, and start the next one."""
        assert self._talk is not None
        self._talk.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._talk
        self._tracker.mark_lost(self._name, "its process died")
        await self._tracker.wait_until_idle(PATIENCE)
        await self._live()


class _Channel(NotingChannel):
    """A channel that also sends what it notes, as the one of a warm runner does."""

    def __init__(self, runner: InProcessRunner, claim: Claim, dies_after: int | None) -> None:
        super().__init__(dies_after=dies_after)
        self._runner = runner
        self._claim = claim

    def progress(self, fraction: float | None, message: str | None) -> None:
        super().progress(fraction, message)
        self._runner.progress(self._claim, fraction, message)

    def keep(self, data: str) -> None:
        self._runner.checkpoint(self._claim, data)

    def log(self, line: LogLine) -> None:
        super().log(line)
        self._runner.log(self._claim, line)
