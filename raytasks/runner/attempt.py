"""One attempt, in any process: check the payload, call the handler, make the outcome."""

import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from types import CoroutineType
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import from_json

from raytasks.artifacts.large_values import ArtifactsUnavailable
from raytasks.handling.attempt_waits import AttemptWaits, noting
from raytasks.handling.context import Cancelled, Channel, Context
from raytasks.handling.declaration import HandlerSpec
from raytasks.handling.handler_json import handler_json
from raytasks.model.json_places import pointer
from raytasks.model.retry import (
    DEFAULT_SECONDS,
    AttemptTimeout,
    PermanentError,
    RateLimited,
    RetryDecision,
    Snooze,
    wait_of,
)
from raytasks.model.states import OutcomeKind
from raytasks.model.strict_json import NotJson
from raytasks.model.time_text import utc_time
from raytasks.observe.traces import ProcessSpan, processing
from raytasks.protocol.messages import Claim, Outcome
from raytasks.runner.error_report import describe_error, fenced, is_a, judge
from raytasks.runner.failure_hook import call_on_failure
from raytasks.runner.home import HomeChannel
from raytasks.runner.stop import Stop, StopReason
from raytasks.runner.workplace import Workplace

_READY = frozenset({type(None), bool, int, float, str, dict, list})


@dataclass
class Attempt:
    """One attempt in its workplace. Its `stop` is shared with the watch over it."""

    spec: HandlerSpec
    claim: Claim
    workplace: Workplace
    stop: Stop = field(default_factory=Stop)
    started_at: float = 0.0
    error: BaseException | None = None
    failure: BaseException | None = None
    """The reason why it failed: the handler's error, or the timeout."""
    over: bool = False
    """Whether only `on_failure` still runs, which has a bound of its own."""
    tries_again: Callable[[BaseException], bool] = lambda _: False
    """Whether Ray runs the handler again within this attempt after an error."""
    ask_stop: Callable[[], StopReason | None] = lambda: None
    """Asks whether it was to stop, where only another process knows; called when it fails."""
    lines_before: int = 0
    ran_elsewhere: bool = False
    """Whether another process has run its handler: nobody here knows of files saved there."""
    saving: bool = False
    """Whether it waits until the tracker has its checkpoint."""
    _channel: Channel = field(init=False)
    _made: Context | None = None
    _text: str | None = None
    waits: AttemptWaits = field(default_factory=AttemptWaits)

    def __post_init__(self) -> None:
        artifacts = self.workplace.artifacts
        self._writes_before = 0 if artifacts is None else artifacts.writes
        self.started_at = self.workplace.now()

    @property
    def deadline(self) -> float | None:
        """The deadline of the attempt, in seconds since the epoch; None without a timeout."""
        timeout = self.claim.timeout_seconds
        return None if timeout is None else self.started_at + timeout

    def run(self, handler: Callable[..., Any], channel: Channel) -> Outcome:
        """Call the handler (of a class: its instance), and return the outcome.

        Every exception that the handler raises becomes an outcome. In a child process that the
        handler has forked, this does not return, but ends that process.
        """
        children = self.workplace.children
        if children is not None:
            children.mark()
        return self.workplace.apart(lambda: self._run(handler, channel))

    def span(self) -> AbstractContextManager[ProcessSpan]:
        """Make the span of this attempt current within a block. See `processing`."""
        claim = self.claim
        return processing(
            claim.task_type,
            claim.task_id,
            claim.attempt,
            claim.trace_context,
            self.workplace.trace_parenting,
        )

    def _run(self, handler: Callable[..., Any], channel: Channel) -> Outcome:
        with self.span() as span:
            outcome = self._outcome_of(handler, channel)
            span.ended(outcome.kind.value, self.error)
            if self.spec.on_failure is not None:
                [outcome] = call_on_failure([(self, outcome)])
        return outcome

    def _outcome_of(self, handler: Callable[..., Any], channel: Channel) -> Outcome:
        try:
            with noting(self.waits):
                written = self._written(handler, channel)
            return self.succeeded(written)
        except BaseException as error:
            return self.ended_by(error)

    def succeeded(self, written: bytes) -> Outcome:
        """Return the outcome of an attempt with this result (JSON).

        Raises as `LargeValues.externalize_result` does.
        """
        text, ref = self.workplace.values.externalize_result(self.claim, written)
        return self.outcome(OutcomeKind.SUCCEEDED, result=text, result_ref=ref)

    def is_large(self, written: bytes) -> bool:
        """Return whether this result (JSON) goes to a file."""
        values = self.workplace.values
        return values.artifacts is not None and len(written) > values.offload_bytes

    def ended_by(self, error: BaseException) -> Outcome:
        """Return the outcome of an attempt that ended with this error of its handler."""
        if is_a(error, Snooze):
            return self._snoozed(cast("Snooze", error))
        if self.stop.reason is None and (reason := self.ask_stop()) is not None:
            self.stop.order(reason, self.workplace.now())
        if self.stop.reason is None and not is_a(error, Cancelled):
            return self.failed(error)
        if self.workplace.children is not None:
            self.workplace.children.cancel()
        return self.stopped()

    def _snoozed(self, error: Snooze) -> Outcome:
        seconds = fenced(lambda: wait_of(error), lambda _: DEFAULT_SECONDS)
        closes = fenced(lambda: _closed_by(error), lambda _: None)
        if closes is not None and closes not in [limit.name for limit in self.spec.limits]:
            fenced(lambda: self._tell(_unknown_limit(self.spec.task_type, closes)), lambda _: None)
            closes = None
        return self.outcome(OutcomeKind.SNOOZED, delay_seconds=seconds, closes=closes)

    def failed(
        self, error: BaseException, kind: OutcomeKind = OutcomeKind.FAILED, **details: Any
    ) -> Outcome:
        """Return the outcome of a failure with this error, as the retry policy judges it.

        The attribute `error` keeps what a handler raised, but not a timeout.
        """
        self.error = error if kind is OutcomeKind.FAILED else None
        self.failure = error
        decision = self._verdict(error)
        return self.outcome(
            kind,
            error=describe_error(error, retryable=decision.retryable),
            retryable=decision.retryable,
            delay_seconds=decision.delay_seconds,
            **details,
        )

    def stopped(self, **details: Any) -> Outcome:
        """Return the outcome of an attempt that was stopped: cancelled or timed out."""
        late = self.deadline is not None and self.workplace.now() >= self.deadline
        if self.stop.reason is StopReason.TIMEOUT or (self.stop.reason is None and late):
            limit = self.claim.timeout_seconds
            error = AttemptTimeout(f"took longer than its timeout of {limit:g} seconds")
            return self.failed(error, OutcomeKind.TIMED_OUT, **details)
        return self.outcome(OutcomeKind.CANCELLED, **details)

    def outcome(self, kind: OutcomeKind, **details: Any) -> Outcome:
        """Return an outcome of this attempt, with its end now."""
        return Outcome(
            self.claim.task_id,
            self.claim.attempt,
            kind,
            started_at=self.started_at,
            finished_at=self.workplace.now(),
            node_id=self.workplace.node_id,
            worker_id=self.workplace.worker_id,
            host=self.workplace.host,
            pid=self.workplace.pid,
            has_files=self.has_files,
            **details,
        )

    def externalize_checkpoint(self, text: str) -> tuple[str, str | None]:
        """Return the text and reference to report for a checkpoint.

        See `LargeValues.externalize_checkpoint`.
        """
        return self.workplace.values.externalize_checkpoint(self.claim, text)

    @property
    def has_files(self) -> bool:
        """Whether it has saved files of its task, has tried to, or may have done so elsewhere."""
        artifacts = self.workplace.artifacts
        if artifacts is None:
            return self.ran_elsewhere
        return self.ran_elsewhere or artifacts.writes > self._writes_before

    def _verdict(self, error: BaseException) -> RetryDecision:
        policy, failures = self.spec.retry, self.claim.failures + 1
        source = self.workplace.random_source
        if type(error) is ArtifactsUnavailable:  # not the handler's error, so not for its lists
            return RetryDecision(True, policy.backoff(failures, source))
        return judge(error, policy, failures, source)

    def _written(self, handler: Callable[..., Any], channel: Channel) -> bytes:
        """Return the result as JSON. All code of the handler runs in here, also lazy results."""
        try:
            written = self.written(self._call(handler, channel))
        except BaseException as error:
            self.workplace.home.leave_if_copy(error)
            raise
        self.workplace.home.leave_if_copy()
        return written

    def written(self, result: Any) -> bytes:
        """Return a result as JSON.

        Raises `PermanentError` if it cannot be JSON, and the errors of the handler's lazy values.
        """
        try:
            return handler_json(result)
        except NotJson as refusal:
            raise PermanentError(f"the handler's result cannot be JSON: {refusal}") from None

    def _call(self, handler: Callable[..., Any], channel: Channel) -> Any:
        self._channel = channel
        arguments = [self.payload()]
        if self.spec.wants_context:
            arguments.append(self.context)
        result = self.wrapped(handler)(*arguments)
        return result if type(result) in _READY else self.collected(result)

    def wrapped(
        self, handler: Callable[..., Any], batch: "Sequence[Attempt] | None" = None
    ) -> Callable[..., Any]:
        """Return the handler with the middleware around it, for a call with these attempts."""
        middleware = self.workplace.middleware
        if not middleware.specs:
            return handler
        contexts = [attempt.context for attempt in (batch or [self])]
        if self.spec.is_async:
            return middleware.asynchronous(self.spec, handler, contexts, self.collect)
        return middleware.plain(self.spec, handler, contexts, self.collected)

    def use(self, channel: Channel) -> None:
        """Let the attempt's context report by this channel. Needed before `context`."""
        self._channel = channel

    def load(self) -> None:
        """Read the payload from its file, if it is large. Raises as `LargeValues.load_payload`."""
        self._text = self.workplace.values.load_payload(self.claim)

    def payload(self) -> Any:
        """Return the payload, as its handler's model. Raises `PermanentError` if it does not fit.

        Raises also as `LargeValues.load_payload` does. A large payload is read from its file.
        """
        if self._text is None:
            self.load()
        try:
            return self.spec.payload.validate_json(self._text or "")
        except ValidationError as error:
            # The payload was valid when it was submitted: the handler's model has changed since.
            # The message has no input values: they may be secret.
            found = error.errors(include_url=False, include_context=False, include_input=False)
            mask = self.spec.redaction
            told = "; ".join(
                f"{_place(item['loc'])}: "
                + ("is hidden" if mask is not None and mask.covers(item["loc"]) else item["msg"])
                for item in found[:10]
            )
            raise PermanentError(f"the payload no longer fits its handler: {told}") from None

    def plain_payload(self) -> Any:
        """Return the payload as JSON gives it. Raises as `LargeValues.load_payload`."""
        if self._text is None:
            self.load()
        return from_json(self._text or "null")

    def collected(self, result: Any) -> Any:
        """Return the result of an async handler, or the list of what a generator yields."""
        if type(result) is CoroutineType:
            return self.workplace.run_async(result, self._tell)
        if inspect.isasyncgen(result):
            result = self._all_of_async(result)
        if inspect.isawaitable(result):
            result = self.workplace.run_async(result, self._tell)
        if inspect.isgenerator(result):
            result = self._all_of(result)
        return result

    async def collect(self, result: Any) -> Any:
        """Return the same as `collected`, on the event loop that runs now."""
        if inspect.isasyncgen(result):
            return await self._all_of_async(result)
        if inspect.isawaitable(result):
            result = await result
        if inspect.isgenerator(result):
            result = self._all_of(result)
        return result

    def _all_of(self, yielded: Iterator[Any]) -> list[Any]:
        most = self._most_items
        items = list(islice(yielded, most + 1))
        if len(items) > most:
            raise self._too_many()
        return items

    async def _all_of_async(self, yielded: AsyncIterator[Any]) -> list[Any]:
        items: list[Any] = []
        async for item in yielded:
            items.append(item)
            if len(items) > self._most_items:
                raise self._too_many()
        return items

    @property
    def _most_items(self) -> int:
        """How many items a result can have: each takes at least two bytes."""
        return self.workplace.max_result_bytes // 2

    def _too_many(self) -> PermanentError:
        return PermanentError(
            f"the handler has yielded more than {self._most_items} items, which are more than "
            "RAYTASKS_MAX_RESULT_BYTES allows"
        )

    def _tell(self, text: str) -> None:
        """Write a line by raytasks itself into the attempt's log."""
        self.context.log.warning("%s", text)

    @property
    def context(self) -> Context:
        """The attempt's one context. There is only one, as it counts the log lines."""
        if self._made is None:
            self._made = self._context()
        return self._made

    def _context(self) -> Context:
        return Context(
            task_id=self.claim.task_id,
            task_type=self.claim.task_type,
            attempt=self.claim.attempt,
            failures=self.claim.failures,
            max_attempts=self.claim.max_attempts,
            deadline=self.deadline,
            channel=HomeChannel(self._channel, self.workplace.home),
            artifacts=self.workplace.artifacts,
            saved_checkpoint=None if self.claim.checkpoint_ref else self.claim.checkpoint,
            load_checkpoint=lambda: self.workplace.values.load_checkpoint(self.claim),
            clock=self.workplace.now,
            lines_before=self.lines_before,
            max_checkpoint_bytes=self.workplace.max_result_bytes,
            priority=self.claim.priority,
            tags=tuple(from_json(self.claim.tags)) if self.claim.tags else (),
            namespace=self.claim.namespace,
            namespace_of=self.workplace.namespace_of,
            scheduled_for=utc_time(self.claim.scheduled_for),
        )


def _closed_by(error: Snooze) -> str | None:
    limit = getattr(error, "limit", None) if is_a(error, RateLimited) else None
    return str(limit) if is_a(limit, str) else None


def _unknown_limit(task_type: str, name: object) -> str:
    return (
        f"RateLimited names the limit {name!r:.100}, which task type {task_type!r} does not have: "
        "nothing is closed, and only this task waits; declare it in limits=, or correct the name"
    )


def _place(parts: tuple[int | str, ...]) -> str:
    return pointer("payload", *parts)
