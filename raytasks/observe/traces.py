"""Spans of submissions and attempts, by OpenTelemetry's API.

The API alone records nothing: a user's module sets up an SDK in the process. Without one, the trace
context of a submission still reaches its handler.

Names and attributes follow OpenTelemetry's conventions for messaging, version 1.44
(https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/): `send TYPE` for a
submission, `process TYPE` for each attempt. OpenTelemetry is imported only when it is needed.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from raytasks.model.trace_context import headers_of, present_context

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

_SYSTEM = "raytasks"

_IN_ENVIRONMENT = "OTEL_PYTHON_TRACER_PROVIDER" in os.environ
"""Whether the API loads a provider when it is first asked. A look each time costs 4 µs."""


class TraceParenting(StrEnum):
    """The relation of an attempt's span to the span of its submission.

    - LINK: each attempt begins a trace of its own, which links to the submission. It is the default
      of the conventions, as attempts may run days later.
    - CHILD: attempts are children of the submission, so one trace has everything.
    """

    LINK = "link"
    CHILD = "child"


def is_recording() -> bool:
    """Return whether somebody has set up an SDK in this process."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:  # whoever has set one up has imported it
        return False
    if not _IN_ENVIRONMENT and trace.__dict__.get("_TRACER_PROVIDER", trace) is None:
        return False  # what the API itself asks first, before it looks into the environment
    return not isinstance(
        trace.get_tracer_provider(), (trace.ProxyTracerProvider, trace.NoOpTracerProvider)
    )


@contextmanager
def sending(
    task_types: Sequence[str], task_ids: Sequence[str], context: str | None
) -> Iterator[str | None]:
    """Record the submission of tasks; the value is the trace context to keep with them.

    `context` is that of the request. Without it, the present span is the parent. A batch has one
    span, whatever its types.
    """
    if not is_recording():
        yield context or present_context()
        return
    from opentelemetry import trace

    one = len({*task_types}) == 1
    attributes: dict[str, Any] = {
        "messaging.system": _SYSTEM,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    if one:
        attributes["messaging.destination.name"] = task_types[0]
    if len(task_ids) == 1:
        attributes["messaging.message.id"] = task_ids[0]
    else:
        attributes["messaging.batch.message_count"] = len(task_ids)
    present = trace.get_current_span().get_span_context().is_valid
    parent = None if present or context is None else _extracted(context)
    with _tracer().start_as_current_span(
        f"send {task_types[0]}" if one else "send",
        context=parent,
        kind=trace.SpanKind.PRODUCER,
        attributes=attributes,
    ):
        yield present_context()


class ProcessSpan:
    """The span of one attempt. Without an SDK it does nothing."""

    def __init__(self, span: Any = None) -> None:
        self._span = span

    def ended(self, outcome: str, error: BaseException | None) -> None:
        """Record how the attempt ended, with the error that its handler raised, if any."""
        if self._span is None:
            return
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attribute("raytasks.outcome", outcome)
        if error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.record_exception(error)
        if error is not None or outcome not in ("succeeded", "snoozed", "released", "cancelled"):
            self._span.set_status(Status(StatusCode.ERROR, outcome))


_NO_SPAN = ProcessSpan()


def processing(
    task_type: str,
    task_id: str,
    attempt: int,
    context: str | None,
    parenting: TraceParenting = TraceParenting.LINK,
) -> AbstractContextManager[ProcessSpan]:
    """Make the span of an attempt current, or only its trace context if nothing is recorded."""
    if is_recording():
        return _recorded(task_type, task_id, attempt, context, parenting)
    if context is not None:
        return _Continued(context)
    return nullcontext(_NO_SPAN)


@contextmanager
def within(name: str, context: str | None) -> Iterator[None]:
    """Make a span within a trace context current, in another process than that of its parent."""
    if context is None:
        yield
    elif is_recording():
        with _tracer().start_as_current_span(name, context=_extracted(context)):
            yield
    else:
        with _Continued(context):
            yield


def flush(seconds: float = 2.0) -> None:
    """Send the spans that the SDK still holds, as this process ends."""
    if is_recording():
        provider = sys.modules["opentelemetry.trace"].get_tracer_provider()
        if hasattr(provider, "force_flush"):
            provider.force_flush(int(seconds * 1000))


@contextmanager
def _recorded(
    task_type: str, task_id: str, attempt: int, context: str | None, parenting: TraceParenting
) -> Iterator[ProcessSpan]:
    from opentelemetry import context as contexts
    from opentelemetry import trace

    parent = contexts.Context()  # empty: a trace of its own
    links = []
    if context is not None:
        sent = _extracted(context)
        if parenting is TraceParenting.CHILD:
            parent = sent
        else:
            links = [trace.Link(trace.get_current_span(sent).get_span_context())]
    with _tracer().start_as_current_span(
        f"process {task_type}",
        context=parent,
        kind=trace.SpanKind.CONSUMER,
        links=links,
        attributes={
            "messaging.system": _SYSTEM,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": task_type,
            "messaging.message.id": task_id,
            "raytasks.attempt": attempt,
        },
        record_exception=False,
    ) as span:
        yield ProcessSpan(span)


class _Continued:
    """A block in which a trace context is current. Each attempt that has one pays for it."""

    __slots__ = ("_context", "_token")

    def __init__(self, context: str) -> None:
        self._context = context

    def __enter__(self) -> ProcessSpan:
        self._token = _otel().attach(_extracted(self._context))
        return _NO_SPAN

    def __exit__(self, *_: object) -> None:
        _otel().detach(self._token)


def _extracted(context: str) -> Any:
    """Return a context with the span of the submission, which is in another process."""
    otel = _otel()
    return otel.with_span(otel.remote_span(context), otel.empty)


@cache
def _otel() -> SimpleNamespace:
    """Return what each attempt with a trace context needs. An import costs a microsecond each."""
    from opentelemetry import context as contexts
    from opentelemetry import trace

    class RemoteSpan(trace.NonRecordingSpan):
        """A span in another process, which reads its context when it is needed."""

        def __init__(self, context: str) -> None:
            self._kept = context

        def get_span_context(self) -> trace.SpanContext:
            return _span_context(self._kept)

        def __repr__(self) -> str:
            return f"RemoteSpan({self._kept})"

    return SimpleNamespace(
        attach=contexts.attach,
        detach=contexts.detach,
        empty=contexts.Context(),
        with_span=trace.set_span_in_context,
        remote_span=RemoteSpan,
    )


def _span_context(context: str) -> "SpanContext":
    """Return the context of a span. It was checked when it came in, so its places are known."""
    from opentelemetry import trace

    headers = headers_of(context)
    parent, state = headers["traceparent"], headers.get("tracestate")
    return trace.SpanContext(
        int(parent[3:35], 16),
        int(parent[36:52], 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(int(parent[53:55], 16)),
        trace_state=None if state is None else trace.TraceState.from_header([state]),
    )


def _tracer() -> Any:
    from opentelemetry import trace

    return trace.get_tracer("raytasks")
