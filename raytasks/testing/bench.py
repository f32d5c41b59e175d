"""The bench: it runs one attempt in this process, with the code that a runner uses."""

import copy
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import from_json, to_json

from raytasks.api.task_models import ErrorView
from raytasks.artifacts.large_values import MAX_RESULT_BYTES, LargeValues
from raytasks.handling.declaration import HandlerSpec, handler_of
from raytasks.handling.middleware import middleware_of
from raytasks.handling.registry import Registry
from raytasks.handling.submission import check_submission
from raytasks.model.handler_info import HandlerKind
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import DEFAULT_NAMESPACE
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.batch_call import BatchCall
from raytasks.runner.handler_call import Answer, drive
from raytasks.runner.interrupt import AttemptStopped
from raytasks.runner.stop import StopReason
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

    @property
    def workplace(self) -> Workplace:
        """The workplace whose copies the attempts have."""
        return self._workplace

    def start_process(self, name: str) -> None:
        """Begin again as a new process: class handlers are instantiated again."""
        self._instances.clear()
        self._workplace.worker_id = name

    def attempt(self, spec: HandlerSpec, claim: Claim) -> Attempt:
        """Return an attempt that begins now."""
        return Attempt(spec, claim, self._workplace.for_attempt())

    def run(
        self, attempts: Sequence[Attempt], channels: Sequence[NotingChannel]
    ) -> list[tuple[Outcome, AttemptRun]]:
        """Run attempts in one call of their handler: a batch, or one.

        Return the outcome of each for the tracker, and a record of what it did. The outcomes are
        `LOST` if the process died.
        """
        for attempt, channel in zip(attempts, channels, strict=True):
            channel.attempt = attempt
        call = BatchCall(attempts[0].spec, attempts)
        is_batch = call.spec.batch is not None
        watch = _Watch(lambda: call.active if is_batch else attempts, self._clock)
        with self._clock.watched(watch.look):
            outcomes = self._outcomes(call, channels)
        if any(channel.died for channel in channels) or any(
            isinstance(attempt.error, ProcessDied) for attempt in attempts
        ):
            outcomes = [attempt.outcome(OutcomeKind.LOST) for attempt in attempts]
        else:  # the handler may have continued all the same
            outcomes = [
                attempt.stopped() if watch.is_overdue(attempt, outcome.finished_at) else outcome
                for attempt, outcome in zip(attempts, outcomes, strict=True)
            ]
        return [
            (outcome, self._run_of(attempt, channel, outcome))
            for attempt, channel, outcome in zip(attempts, channels, outcomes, strict=True)
        ]

    def _run_of(self, attempt: Attempt, channel: NotingChannel, outcome: Outcome) -> AttemptRun:
        result = self.values.load_result(outcome)
        files = attempt.workplace.artifacts
        return AttemptRun(
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
            artifacts=files.saved if isinstance(files, NotingArtifacts) else {},
            logs=channel.logged,
        )

    def close(self) -> None:
        """End the event loop of the async handlers."""
        self._workplace.close()

    def _outcomes(self, call: BatchCall, channels: Sequence[NotingChannel]) -> list[Outcome]:
        attempts, first = call.attempts, call.attempts[0]
        if any(channel.died for channel in channels):
            return [attempt.outcome(OutcomeKind.LOST) for attempt in attempts]
        by_attempt = dict(zip(map(id, attempts), channels, strict=True))
        try:
            handler = self._handler(first.spec)
        except BaseException as error:
            call.fail(error, lambda attempt: by_attempt[id(attempt)])
            call.call_on_failure()
            return call.outcomes
        if first.spec.batch is None:
            return [first.run(handler, channels[0])]

        def invoke(arguments: Sequence[Any]) -> Answer:
            try:
                return first.collected(call.wrapped(handler)(*arguments)), None
            except ProcessDied as error:
                first.error = error
                raise
            except BaseException as error:
                return None, error

        with suppress(ProcessDied):
            steps = call.steps(lambda attempt: by_attempt[id(attempt)])
            first.workplace.apart(lambda: drive(steps, invoke))
        told = {outcome.task_id: outcome for outcome in call.outcomes}
        return [
            told.get(attempt.claim.task_id) or attempt.outcome(OutcomeKind.LOST)
            for attempt in attempts
        ]

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
    scheduled_for: datetime | None = None,
    priority: int = 0,
    tags: Sequence[str] = (),
    namespace: str = DEFAULT_NAMESPACE,
    clock: FakeClock | None = None,
    middleware: Sequence[Callable[..., Any]] = (),
    artifacts: Mapping[str, bytes] | None = None,
) -> AttemptRun:
    """Run one attempt of a handler, and return what it did. Nothing is stored.

    `handler` is a function with `@handler`, also an async one, or a class, of which a new instance
    is made. The attempt is the task's `attempt`-th, after `failures` failed ones (by default, all
    earlier ones). It has the `checkpoint` that the last one left. With `cancelled`, the context
    says from the start that the task was cancelled. The functions of `middleware` are around it.
    The task has the files `artifacts` already, by name. The time `scheduled_for`, with a time zone,
    is that of a schedule. The `priority`, the `tags` and the `namespace` are those of the task.

    Raises `InvalidSubmission` for a payload that could not be submitted. An error of the handler
    becomes the outcome, with two exceptions: Ctrl-C, and errors that pytest raises to end a test.
    """
    spec = handler_of(handler)
    clock = clock or FakeClock()
    request = {
        "task_type": spec.task_type,
        "payload": payload,
        "timeout_seconds": timeout_seconds,
        "priority": priority,
        "tags": list(tags),
    }
    registry = Registry([spec])
    for layer in middleware:
        registry.add_middleware(middleware_of(layer))
    registry.check_middleware()
    new = check_submission(request, registry, namespace=namespace, now=clock())
    claim = Claim(
        task_id=new.task_id,
        task_type=new.task_type,
        attempt=attempt,
        payload=new.payload,
        failures=attempt - 1 if failures is None else failures,
        max_attempts=new.max_attempts,
        timeout_seconds=new.timeout_seconds,
        checkpoint=None if checkpoint is None else to_json(checkpoint).decode(),
        priority=new.priority,
        tags=new.tags,
        namespace=new.namespace,
        scheduled_for=None if scheduled_for is None else scheduled_for.timestamp(),
    )
    with tempfile.TemporaryDirectory(prefix="raytasks-") as folder:
        bench = Bench(folder, clock)
        bench.workplace.middleware = registry.middleware
        for name, data in (artifacts or {}).items():
            bench.artifacts.save(claim.task_id, name, data)
        begun = bench.attempt(spec, claim)
        if cancelled:
            begun.stop.order(StopReason.CANCEL, clock())
        try:
            with handlers_without_queue():
                [(_, run)] = bench.run([begun], [NotingChannel()])
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

    _loops: list[LoopThread] = field(default_factory=list)  # shared with those of attempts

    def for_attempt(self) -> "_Workplace":
        """Return the workplace of one attempt, which notes the files that this one saves."""
        own = copy.copy(self)
        artifacts = copy.copy(self.artifacts)
        assert isinstance(artifacts, NotingArtifacts)
        artifacts.saved = {}
        own.artifacts = artifacts
        return own

    def run_async(self, awaitable: Awaitable[Any], tell: Callable[[str], object]) -> Any:
        if not self._loops:
            self._loops.append(LoopThread("raytasks-async-handlers"))
        return self._loops[0].call_handler(awaitable, tell)

    def close(self) -> None:
        for loop in self._loops:
            loop.close()


class _Watch:
    """Checks attempts at each move of the clock, as a runner does all the time."""

    def __init__(self, present: Callable[[], Sequence[Attempt]], clock: FakeClock) -> None:
        self._present = present
        self._clock = clock

    def is_overdue(self, attempt: Attempt, now: float) -> bool:
        """Return whether a runner would have interrupted the handler of this attempt by `now`."""
        deadline, stop = attempt.deadline, attempt.stop
        if deadline is not None and now >= deadline:
            stop.order(StopReason.TIMEOUT, deadline)
        return stop.ordered_at is not None and now - stop.ordered_at > ASK_SECONDS

    def look(self) -> None:
        """Raise `AttemptStopped` in the handler if it should have stopped earlier.

        A batch goes on without those of its attempts that are cancelled.
        """
        present = self._present()
        now = self._clock()
        overdue = [one for one in present if not one.over and self.is_overdue(one, now)]
        late = any(attempt.stop.reason is StopReason.TIMEOUT for attempt in overdue)
        if late or (overdue and len(overdue) == len(present)):
            raise AttemptStopped


class _NoJitter(random.Random):
    """A random source that always returns the middle."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def _delay(outcome: Outcome) -> float | None:
    if outcome.kind is OutcomeKind.SNOOZED or outcome.retryable:
        return outcome.delay_seconds
    return None
