"""The bench: it runs one attempt in this process, with the code that a runner uses."""

import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

from raytasks.api.views import ErrorView
from raytasks.artifacts.large_values import MAX_RESULT_BYTES, LargeValues
from raytasks.handling.declaration import HandlerSpec, handler_of
from raytasks.handling.registry import Registry
from raytasks.handling.submission import check_submission
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import HandlerKind
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.attempt import Attempt, StopReason
from raytasks.runner.interrupt import AttemptStopped
from raytasks.runner.warm_work import ASK_SECONDS
from raytasks.runner.workplace import Workplace
from raytasks.testing.clock import FakeClock
from raytasks.testing.isolation import handlers_without_queue
from raytasks.testing.loop import LoopThread
from raytasks.testing.notes import AttemptRun, NotingArtifacts, NotingChannel, ProcessDied

NODE_ID = "test-node"


class Bench:
    """A bench runs attempts one after the other, in the calling thread.

    Class handlers are instantiated at their first attempt, and stay. Without a `seed` there is no
    jitter, so delays are exactly those of the retry policy. Results over `offload_bytes` are stored
    below `artifacts_url`, with the files that handlers save.
    """

    def __init__(
        self,
        artifacts_url: str,
        clock: FakeClock,
        seed: int | None = None,
        *,
        offload_bytes: int = sys.maxsize,
        max_result_bytes: int = MAX_RESULT_BYTES,
    ) -> None:
        self.artifacts = NotingArtifacts(artifacts_url)
        self._clock = clock
        self._workplace = _Workplace(
            artifacts=self.artifacts,
            offload_bytes=offload_bytes,
            max_result_bytes=max_result_bytes,
            clock=clock,
            monotonic=clock,
            random_source=_NoJitter() if seed is None else random.Random(seed),  # noqa: S311
            node_id=NODE_ID,
            puts_back=False,  # the process belongs to the test
        )
        self._instances: dict[str, Any] = {}

    @property
    def clock(self) -> FakeClock:
        """The clock of all times."""
        return self._clock

    @property
    def values(self) -> LargeValues:
        """The store of large payloads and results."""
        return self._workplace.values

    def start_process(self, name: str) -> None:
        """Begin again as a new process: class handlers are instantiated again."""
        self._instances.clear()
        self._workplace.worker_id = name

    def attempt(self, spec: HandlerSpec, claim: Claim) -> Attempt:
        """Return an attempt that begins now."""
        return Attempt(spec, claim, self._workplace)

    def run(self, attempt: Attempt, channel: NotingChannel) -> tuple[Outcome, AttemptRun]:
        """Run the attempt; return its outcome for the tracker, and a record of what it did.

        The outcome is `LOST` if the process died.
        """
        channel.attempt = attempt
        self.artifacts.saved = {}
        watch = _Watch(attempt, self._clock)
        with self._clock.watched(watch.look):
            outcome = self._outcome(attempt, channel)
        if channel.died or isinstance(attempt.error, ProcessDied):
            outcome = attempt.outcome(OutcomeKind.LOST)
        elif watch.overdue:  # the handler continued all the same
            outcome = attempt.stopped()
        result = self.values.load_result(outcome)
        return outcome, AttemptRun(
            task_id=attempt.claim.task_id,
            task_type=attempt.claim.task_type,
            attempt=attempt.claim.attempt,
            outcome=outcome.kind,
            started_at=outcome.started_at,
            finished_at=outcome.finished_at,
            result=None if result is None else from_json(result),
            error=None if outcome.error is None else ErrorView(**from_json(outcome.error)),
            exception=None if outcome.kind is OutcomeKind.LOST else attempt.error,
            delay_seconds=_delay(outcome),
            progress=channel.told,
            checkpoints=channel.checkpoints,
            artifacts=self.artifacts.saved,
            logs=channel.logged,
        )

    def close(self) -> None:
        """End the event loop of the async handlers."""
        self._workplace.close()

    def _outcome(self, attempt: Attempt, channel: NotingChannel) -> Outcome:
        if channel.died:
            return attempt.outcome(OutcomeKind.LOST)
        try:
            handler = self._handler(attempt.spec)
        except BaseException as error:
            return attempt.failed(error)
        return attempt.run(handler, channel)

    def _handler(self, spec: HandlerSpec) -> Callable[..., Any]:
        if spec.kind is not HandlerKind.CLASS:
            return spec.target
        if spec.task_type not in self._instances:
            self._instances[spec.task_type] = spec.target()
        instance: Callable[..., Any] = self._instances[spec.task_type]
        return instance


def run_handler(
    handler: Callable[..., Any],
    payload: Any,
    *,
    attempt: int = 1,
    failures: int | None = None,
    checkpoint: Any = None,
    cancelled: bool = False,
    timeout_seconds: float | None = None,
    clock: FakeClock | None = None,
) -> AttemptRun:
    """Run one attempt of a handler, and return what it did. Nothing is stored.

    `handler` is a function with `@handler`, also an async one, or a class, of which a new instance
    is made. The attempt is the task's `attempt`-th, after `failures` failed ones (by default, all
    earlier ones). It has the `checkpoint` that the last one left. With `cancelled`, the context
    says from the start that the task was cancelled.

    Raises `InvalidSubmission` for a payload that could not be submitted. An error of the handler
    becomes the outcome, with two exceptions: Ctrl-C, and errors that pytest raises to end a test.
    """
    spec = handler_of(handler)
    clock = clock or FakeClock()
    request = {"task_type": spec.task_type, "payload": payload, "timeout_seconds": timeout_seconds}
    new = check_submission(request, Registry([spec]), now=clock())
    claim = Claim(
        task_id=new.task_id,
        task_type=new.task_type,
        attempt=attempt,
        payload=new.payload,
        failures=attempt - 1 if failures is None else failures,
        max_attempts=new.max_attempts,
        timeout_seconds=new.timeout_seconds,
        checkpoint=None if checkpoint is None else to_json(checkpoint).decode(),
    )
    with tempfile.TemporaryDirectory(prefix="raytasks-") as folder:
        bench = Bench(folder, clock)
        begun = bench.attempt(spec, claim)
        if cancelled:
            begun.stop.order(StopReason.CANCEL, clock())
        try:
            with handlers_without_queue():
                _, run = bench.run(begun, NotingChannel())
        finally:
            bench.close()
    raise_what_ends_tests(run.exception)
    return run


def raise_what_ends_tests(error: BaseException | None) -> None:
    """Raise an error that does not come from the handler: Ctrl-C, `pytest.fail` and similar."""
    if error is not None and (
        isinstance(error, KeyboardInterrupt)
        # Recognized by name, since pytest is not a requirement of this package.
        or any(kind.__module__ == "_pytest.outcomes" for kind in type(error).__mro__)
    ):
        raise error


@dataclass
class _Workplace(Workplace):
    """Async handlers run on a separate loop, as the test may have one in this thread."""

    _loop: LoopThread | None = None

    def run_async(self, awaitable: Awaitable[Any], tell: Callable[[str], object]) -> Any:
        if self._loop is None:
            self._loop = LoopThread("raytasks-async-handlers")
        return self._loop.call_handler(awaitable, tell)

    def close(self) -> None:
        if self._loop is not None:
            self._loop.close()


class _Watch:
    """Checks an attempt at each move of the clock, as a runner does all the time."""

    def __init__(self, attempt: Attempt, clock: FakeClock) -> None:
        self._attempt = attempt
        self._clock = clock

    @property
    def overdue(self) -> bool:
        """Whether a runner would have interrupted the handler by now."""
        deadline, stop = self._attempt.deadline, self._attempt.stop
        if deadline is not None and self._clock() >= deadline:
            stop.order(StopReason.TIMEOUT, deadline)
        return stop.ordered_at is not None and self._clock() - stop.ordered_at > ASK_SECONDS

    def look(self) -> None:
        """Raise `AttemptStopped` in the handler if it should have stopped earlier."""
        if self.overdue:
            raise AttemptStopped


class _NoJitter(random.Random):
    """A random source that always returns the middle."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def _delay(outcome: Outcome) -> float | None:
    if outcome.kind is OutcomeKind.SNOOZED or outcome.retryable:
        return outcome.delay_seconds
    return None
