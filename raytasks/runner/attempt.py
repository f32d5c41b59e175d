"""One attempt, in whatever process: check the payload, call the handler, describe what came out."""

import asyncio
import inspect
import random
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from raytasks.artifacts import ArtifactStore
from raytasks.context import Cancelled, Channel, Context
from raytasks.messages import Claim, Outcome
from raytasks.offload import (
    MAX_RESULT_BYTES,
    OFFLOAD_BYTES,
    ArtifactsUnavailable,
    LargeValues,
)
from raytasks.registry import HandlerSpec
from raytasks.retry import AttemptTimeout, PermanentError, RetryDecision, Snooze
from raytasks.states import OutcomeKind
from raytasks.steady import steady_time
from raytasks.task_log import clean

_MESSAGE_LENGTH = 10_000
_TRACEBACK_LENGTH = 20_000


class AttemptStopped(BaseException):
    """Thrown into a handler that was asked to stop and did not."""


class StopReason(StrEnum):
    """Why an attempt is to stop."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"


@dataclass
class Stop:
    """The order to stop one attempt, shared between the thread that runs it and its watch."""

    reason: StopReason | None = None
    ordered_at: float | None = None

    def order(self, reason: StopReason, now: float) -> None:
        """Order the attempt to stop; the first reason stands."""
        if self.reason is None:
            self.reason, self.ordered_at = reason, now


class Children(Protocol):
    """The work that an attempt has started elsewhere; see `raytasks.runner.children`."""

    def mark(self) -> None:
        """Note where the attempt begins."""

    def cancel(self) -> None:
        """Cancel what was started since the mark. Called from any thread."""


@dataclass
class Workplace:
    """What the attempts of one process share; they run one after the other."""

    artifacts: ArtifactStore | None = None
    offload_bytes: int = OFFLOAD_BYTES
    max_result_bytes: int = MAX_RESULT_BYTES
    clock: Callable[[], float] = steady_time
    random_source: random.Random = field(default_factory=random.Random)
    node_id: str | None = None
    worker_id: str | None = None
    make_children: Callable[[], Children] | None = None
    children: Children | None = None
    async_task: "asyncio.Task[Any] | None" = None
    _runner: asyncio.Runner | None = None

    @property
    def values(self) -> LargeValues:
        """Where large payloads and results are."""
        return LargeValues(self.artifacts, self.offload_bytes, self.max_result_bytes)

    def enter(self) -> None:
        """Called once in the thread that runs the attempts, before the first of them."""
        if self.make_children is not None:
            self.children = self.make_children()

    def run_async(self, awaitable: Awaitable[Any]) -> Any:
        """Run what an async handler returned on this thread's event loop, and keep the loop."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        loop = self._runner.get_loop()
        self.async_task = loop.create_task(_await(awaitable))
        try:
            return loop.run_until_complete(self.async_task)
        finally:
            self.async_task = None


@dataclass
class Attempt:
    """One attempt at its place of work. `stop` is shared with whoever watches over it."""

    spec: HandlerSpec
    claim: Claim
    workplace: Workplace
    stop: Stop = field(default_factory=Stop)
    started_at: float = 0.0
    error: BaseException | None = None
    lines_before: int = 0

    def __post_init__(self) -> None:
        self.started_at = self.workplace.clock()

    @property
    def deadline(self) -> float | None:
        """When the attempt times out, in seconds since the epoch."""
        timeout = self.claim.timeout_seconds
        return None if timeout is None else self.started_at + timeout

    def run(self, handler: Callable[..., Any], channel: Channel) -> Outcome:
        """Call the handler (of a class: its instance), and return how it ended.

        Raises nothing that the handler may raise: every exception becomes an outcome.
        """
        children = self.workplace.children
        if children is not None:
            children.mark()
        try:
            result = self._call(handler, channel)
            written = to_json(result, inf_nan_mode="null")
            text, ref = self.workplace.values.keep_result(self.claim, written)
        except Snooze as snooze:
            return self.outcome(OutcomeKind.SNOOZED, delay_seconds=snooze.seconds)
        except PydanticSerializationError as error:
            return self.failed(PermanentError(f"the handler's result cannot be JSON: {error}"))
        except BaseException as error:
            if self.stop.reason is not None or isinstance(error, Cancelled):
                if children is not None:
                    children.cancel()
                return self.stopped()
            return self.failed(error)
        return self.outcome(OutcomeKind.SUCCEEDED, result=text, result_ref=ref)

    def failed(
        self, error: BaseException, kind: OutcomeKind = OutcomeKind.FAILED, **details: Any
    ) -> Outcome:
        """Return the outcome of a failure with this error, as the retry policy judges it.

        `error` is kept: what a handler raised, and not what stopped it.
        """
        self.error = error if kind is OutcomeKind.FAILED else None
        decision = self._decide(error)
        return self.outcome(
            kind,
            error=describe_error(error, retryable=decision.retryable),
            retryable=decision.retryable,
            delay_seconds=decision.delay_seconds,
            **details,
        )

    def stopped(self, **details: Any) -> Outcome:
        """Return the outcome of an attempt that was stopped: cancelled, or out of time."""
        late = self.deadline is not None and self.workplace.clock() >= self.deadline
        if self.stop.reason is StopReason.TIMEOUT or (self.stop.reason is None and late):
            limit = self.claim.timeout_seconds
            error = AttemptTimeout(f"took longer than its timeout of {limit:g} seconds")
            return self.failed(error, OutcomeKind.TIMED_OUT, **details)
        return self.outcome(OutcomeKind.CANCELLED, **details)

    def outcome(self, kind: OutcomeKind, **details: Any) -> Outcome:
        """Return an outcome of this attempt that ends it now."""
        return Outcome(
            self.claim.task_id,
            self.claim.attempt,
            kind,
            started_at=self.started_at,
            finished_at=self.workplace.clock(),
            node_id=self.workplace.node_id,
            worker_id=self.workplace.worker_id,
            **details,
        )

    def _decide(self, error: BaseException) -> RetryDecision:
        policy, failures = self.spec.retry, self.claim.failures + 1
        if isinstance(error, ArtifactsUnavailable):  # no error of the handler: not for its lists
            return RetryDecision(True, policy.backoff(failures, self.workplace.random_source))
        return policy.decide(error, failures, self.workplace.random_source)

    def _call(self, handler: Callable[..., Any], channel: Channel) -> Any:
        text = self.workplace.values.payload_of(self.claim)
        try:
            payload = self.spec.payload.validate_json(text)
        except ValidationError as error:
            # It was valid when it was submitted: the handler's model has changed since.
            raise PermanentError(f"the payload no longer fits its handler: {error}") from error
        arguments = [payload]
        if self.spec.wants_context:
            arguments.append(self._context(channel))
        result = handler(*arguments)
        return self.workplace.run_async(result) if inspect.isawaitable(result) else result

    def _context(self, channel: Channel) -> Context:
        return Context(
            task_id=self.claim.task_id,
            task_type=self.claim.task_type,
            attempt=self.claim.attempt,
            failures=self.claim.failures,
            max_attempts=self.claim.max_attempts,
            deadline=self.deadline,
            channel=channel,
            artifacts=self.workplace.artifacts,
            saved_checkpoint=self.claim.checkpoint,
            clock=self.workplace.clock,
            lines_before=self.lines_before,
            max_checkpoint_bytes=self.workplace.max_result_bytes,
        )


def describe_error(error: BaseException, *, retryable: bool) -> str:
    """Return an exception as the JSON text that is kept of it.

    It is described where it happened, since not every exception survives being sent.
    """
    try:
        message = str(error)
    except Exception as failure:
        message = f"(its text cannot be had: {type(failure).__name__})"
    trace = "".join(traceback.format_exception(error))
    return to_json(
        {
            "type": type(error).__name__,
            "message": clean(message)[:_MESSAGE_LENGTH],
            "retryable": retryable,
            "traceback": clean(trace)[-_TRACEBACK_LENGTH:],
        }
    ).decode()


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
