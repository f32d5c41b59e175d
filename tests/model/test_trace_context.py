"""The trace context of a task: only headers that name a valid trace are kept."""

import json

import pytest

from raytasks.model.trace_context import MAX_STATE, headers_of, trace_context, trace_id_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_a_valid_header_is_kept() -> None:
    kept = trace_context(PARENT, "vendor=1")
    assert kept is not None
    assert json.loads(kept) == {"traceparent": PARENT, "tracestate": "vendor=1"}
    assert headers_of(kept) == {"traceparent": PARENT, "tracestate": "vendor=1"}
    assert trace_id_of(kept) == TRACE


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "hello",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT.upper(),
        PARENT + "-more",  # version 00 has no more parts
        PARENT[:-1],
        PARENT + "\x00",
        f"00-{TRACE[:-1]}g-00f067aa0ba902b7-01",
    ],
)
def test_what_names_no_trace_is_dropped(header: str | None) -> None:
    assert trace_context(header, "vendor=1") is None


def test_a_later_version_of_the_header_is_understood_as_far_as_it_is_known() -> None:
    kept = trace_context(f"01-{TRACE}-00f067aa0ba902b7-01-later")
    assert trace_id_of(kept) == TRACE


@pytest.mark.parametrize("state", ["x" * (MAX_STATE + 1), "a=1\n", "a=ü"])
def test_a_state_that_cannot_be_sent_on_is_dropped_alone(state: str) -> None:
    assert headers_of(trace_context(PARENT, state)) == {"traceparent": PARENT}


def test_there_may_be_no_trace() -> None:
    assert trace_id_of(None) is None
    assert headers_of(None) == {}


def test_a_context_in_another_order_has_its_trace_id_as_well() -> None:
    kept = trace_context(f"00-{TRACE}-{'b' * 16}-01", "a=1")
    assert kept is not None
    turned = '{"tracestate":"a=1",' + kept.partition("{")[2].partition(',"tracestate"')[0] + "}"
    assert trace_id_of(kept) == trace_id_of(turned) == TRACE
