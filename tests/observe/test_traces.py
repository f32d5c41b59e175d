"""The spans of submissions and attempts, and the trace context that a handler sees."""

import asyncio
import json
from typing import Any

import pytest
from opentelemetry import trace

from raytasks import handler
from raytasks.model.trace_context import present_context, trace_context, trace_id_of
from raytasks.observe import traces
from raytasks.observe.traces import TraceParenting
from tests.observe.recorded import recorded
from tests.working import Working

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}
CONTEXT = trace_context(HEADERS["traceparent"], HEADERS["tracestate"])


@handler("seen")
def seen(payload: Any) -> Any:
    """Return the trace context that a handler finds."""
    return trace_id_of(present_context())


@handler("seen_async")
async def seen_async(payload: Any) -> Any:
    """Return the trace context on the handler's event loop, also in a task of it."""

    async def inner() -> str | None:
        return trace_id_of(present_context())

    return [trace_id_of(present_context()), await asyncio.create_task(inner())]


@handler("breaks")
def breaks(payload: Any) -> Any:
    """Fail."""
    raise LookupError("no such thing")


@handler("makes_a_span")
def makes_a_span(payload: Any) -> Any:
    """Make a span of the user's own."""
    with trace.get_tracer("user").start_as_current_span("own"):
        return None


def ran(name: str, **workplace: Any) -> Any:
    """Run an attempt that was submitted within the trace, and return its outcome."""
    [outcome] = Working(seen, seen_async, breaks, makes_a_span, **workplace).run(
        name, trace_context=CONTEXT
    )
    return outcome


def test_without_an_sdk_nothing_is_recorded_and_the_handler_sees_the_trace() -> None:
    assert not traces.is_recording()
    assert json.loads(ran("seen").result) == TRACE
    assert json.loads(ran("seen_async").result) == [TRACE, TRACE]
    assert present_context() is None  # it has not stayed


def test_an_attempt_outside_any_trace_sees_none() -> None:
    [outcome] = Working(seen).run("seen")
    assert outcome.result == "null"


def test_an_attempt_is_a_trace_of_its_own_that_links_to_its_submission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with recorded(monkeypatch) as spans:
        result = json.loads(ran("seen").result)
    [span] = spans.named("process seen")
    assert span.context is not None
    assert span.attributes is not None
    assert format(span.context.trace_id, "032x") == result != TRACE
    assert span.parent is None
    [link] = span.links
    assert format(link.context.trace_id, "032x") == TRACE
    assert span.kind is trace.SpanKind.CONSUMER
    assert {**span.attributes} == {
        "messaging.system": "raytasks",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "seen",
        "messaging.message.id": "t0",
        "raytasks.attempt": 1,
        "raytasks.outcome": "succeeded",
    }


def test_by_a_switch_it_is_a_child_of_its_submission(monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(monkeypatch) as spans:
        result = json.loads(ran("seen_async", trace_parenting=TraceParenting.CHILD).result)
    [span] = spans.named("process seen_async")
    assert result == [TRACE, TRACE]
    assert span.parent is not None
    assert format(span.parent.span_id, "016x") == "00f067aa0ba902b7"


def test_a_span_of_the_handler_is_within_that_of_the_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with recorded(monkeypatch) as spans:
        ran("makes_a_span")
    [outer], [inner] = spans.named("process makes_a_span"), spans.named("own")
    assert inner.parent is not None
    assert outer.context is not None
    assert inner.parent.span_id == outer.context.span_id


def test_a_failure_is_an_error_of_the_span(monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(monkeypatch) as spans:
        ran("breaks")
    [span] = spans.named("process breaks")
    assert span.status.status_code is trace.StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "LookupError"
    assert span.attributes["raytasks.outcome"] == "failed"
    assert [event.name for event in span.events] == ["exception"]
