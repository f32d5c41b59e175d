"""One call of a handler beside others: its steps, whether a thread or an event loop drives them.

The steps are a generator. It yields what is to be done (`Invoke`, `Offload`) and gets the result or
the error. So threads and event loops have one code for all that happens around the handler.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from raytasks.handling.attempt_waits import AttemptWaits, noting
from raytasks.handling.context import Channel
from raytasks.handling.declaration import HandlerSpec
from raytasks.observe.traces import ProcessSpan
from raytasks.protocol.messages import Outcome
from raytasks.runner.attempt import Attempt
from raytasks.runner.failure_hook import call_on_failure
from raytasks.runner.stop import StopReason


@dataclass(frozen=True)
class Invoke:
    """The request to call the handler with these arguments, and to collect its result.

    Only this may be interrupted.
    """

    arguments: Sequence[Any]


@dataclass(frozen=True)
class Offload:
    """The request to make a call that blocks, such as reading a file."""

    call: Callable[[], Any]


Request = Invoke | Offload
Answer = tuple[Any, BaseException | None]
"""The result of what was requested, and the error."""

Steps = Generator[Request, Answer, None]


class HandlerCall:
    """One attempt in a call of its handler; see `BatchCall` for several.

    - `active`: the attempts that are in the handler now, in its call number `step`.
    - `outcomes`: those of the attempts that have ended.
    - `stuck`: tasks or threads that the handler left do not end.
    """

    def __init__(self, spec: HandlerSpec, attempts: Sequence[Attempt]) -> None:
        self.spec = spec
        self.attempts = tuple(attempts)
        self.outcomes: list[Outcome] = []
        self.active: tuple[Attempt, ...] = ()
        self.step = 0
        self.interrupted_step = 0
        self.stuck = False
        self.waits = AttemptWaits()
        self._spans: dict[int, ProcessSpan] = {}

    @property
    def unsettled(self) -> list[Attempt]:
        """The attempts without an outcome."""
        ended = {(outcome.task_id, outcome.attempt) for outcome in self.outcomes}
        return [
            attempt
            for attempt in self.attempts
            if (attempt.claim.task_id, attempt.claim.attempt) not in ended
        ]

    @property
    def stop_since(self) -> float | None:
        """The time since when the call is to stop, in seconds since the epoch; None: go on.

        A timeout stops the whole call, and a cancel only if it is for all of its attempts.
        """
        present = self.active or self.unsettled
        stops = [attempt.stop for attempt in present]
        late = [
            stop.ordered_at
            for stop in stops
            if stop.reason is StopReason.TIMEOUT and stop.ordered_at is not None
        ]
        if late:
            return min(late)
        times = [stop.ordered_at for stop in stops if stop.ordered_at is not None]
        return max(times) if times and len(times) == len(stops) else None

    def note_deadlines(self, now: float) -> None:
        """Order the attempts to stop whose time is up; `now` is in seconds since the epoch."""
        for attempt in self.active or self.attempts:
            if attempt.deadline is not None and now >= attempt.deadline:
                attempt.stop.order(StopReason.TIMEOUT, now)

    def steps(self, channel: Callable[[Attempt], Channel]) -> Steps:
        """Yield what is to be done, until all attempts have an outcome.

        `channel` makes the channel of an attempt's context.
        """
        with ExitStack() as stack:
            stack.enter_context(noting(self.waits))
            for attempt in self.attempts:
                attempt.use(channel(attempt))
                self._spans[id(attempt)] = stack.enter_context(attempt.span())
            yield from self._steps()
            if self.spec.on_failure is not None:
                yield Offload(self.call_on_failure)

    def call_on_failure(self) -> None:
        """Call `on_failure` for the attempts that ended their tasks. It may block."""
        by_key = {
            (attempt.claim.task_id, attempt.claim.attempt): attempt for attempt in self.attempts
        }
        self.outcomes = call_on_failure(
            [(by_key[outcome.task_id, outcome.attempt], outcome) for outcome in self.outcomes]
        )

    def wrapped(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """Return the handler with the middleware around it, for the attempts in it now."""
        present = self.active or self.attempts
        return present[0].wrapped(handler, present)

    def fail(self, error: BaseException, channel: Callable[[Attempt], Channel]) -> None:
        """End the attempts without an outcome by an error from before their handler's call."""
        for attempt in self.attempts:
            attempt.use(channel(attempt))
        for attempt in self.unsettled:
            self._settle(
                attempt, attempt.stopped() if attempt.stop.reason else attempt.failed(error)
            )

    def _steps(self) -> Steps:
        [attempt] = self.attempts
        payload, error = yield from self._payload(attempt)
        if error is None:
            arguments = [payload]
            if self.spec.wants_context:
                arguments.append(attempt.context)
            result, error = yield from self._invoke([attempt], arguments)
        if error is None:
            yield from self._succeed(attempt, result)
        else:
            self._settle(attempt, attempt.ended_by(error))

    def _payload(self, attempt: Attempt) -> Generator[Request, Answer, Answer]:
        """Return the payload of an attempt, or the error, after reading it if it is in a file."""
        if attempt.claim.payload_ref is not None:
            _, error = yield Offload(attempt.load)
            if error is not None:
                return None, error
        try:
            return attempt.payload(), None
        except BaseException as error:
            return None, error

    def _invoke(
        self, attempts: Sequence[Attempt], arguments: Sequence[Any]
    ) -> Generator[Request, Answer, Answer]:
        self.active = tuple(attempts)
        self.step += 1
        try:
            return (yield Invoke(arguments))
        finally:
            self.active = ()

    def _succeed(self, attempt: Attempt, result: Any) -> Steps:
        """Settle an attempt with its result; a large one is written to its file."""
        error: BaseException | None
        try:
            written = attempt.written(result)
            if not attempt.is_large(written):
                self._settle(attempt, attempt.succeeded(written))
                return
        except BaseException as failure:
            self._settle(attempt, attempt.ended_by(failure))
            return
        outcome, error = yield Offload(lambda: attempt.succeeded(written))
        self._settle(attempt, outcome if error is None else attempt.ended_by(error))

    def _settle(self, attempt: Attempt, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        span = self._spans.get(id(attempt))
        if span is not None:
            span.ended(outcome.kind.value, attempt.error)


def drive(steps: Steps, invoke: Callable[[Sequence[Any]], Answer]) -> None:
    """Do all steps of a call in this thread; `invoke` calls the handler with its arguments.

    Raises what `invoke` raises; then the steps end here.
    """
    try:
        request = following(steps)
        while request is not None:
            request = following(steps, done(request, invoke))
    finally:
        steps.close()


def following(steps: Steps, answer: Answer | None = None) -> Request | None:
    """Return the next request of some steps, None after the last; `answer` is to the one before.

    Only here does `StopIteration` mean that the steps have ended: code of users may raise it, too.
    """
    try:
        return next(steps) if answer is None else steps.send(answer)
    except StopIteration:
        return None


def done(request: Request, invoke: Callable[[Sequence[Any]], Answer]) -> Answer:
    """Do what is requested, and return its result or its error."""
    if isinstance(request, Invoke):
        return invoke(request.arguments)
    try:
        return request.call(), None
    except BaseException as error:
        return None, error
