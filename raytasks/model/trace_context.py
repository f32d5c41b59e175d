"""The trace context of a task: which trace its submission belongs to.

It is kept as JSON text: `{"traceparent": …}`, and `tracestate` if there is one. The headers are
those of W3C Trace Context (https://www.w3.org/TR/trace-context/).
"""

import re
import sys
from collections.abc import Mapping

from msgspec import json

MAX_STATE = 512
"""Maximum characters of a `tracestate`. A longer one is dropped, as the standard allows."""

_BEGIN = '{"traceparent":"'

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")


def trace_context(traceparent: str | None, tracestate: str | None = None) -> str | None:
    """Return the trace context of these headers; None if they name no valid trace."""
    if traceparent is None or trace_id(traceparent) is None:
        return None
    kept = {"traceparent": traceparent[:55]}  # a later version may say more behind it
    if tracestate and len(tracestate) <= MAX_STATE and _is_printable(tracestate):
        kept["tracestate"] = tracestate
    return json.encode(kept).decode()


def present_context() -> str | None:
    """Return the trace context of the present span of this process; None if there is none."""
    if "opentelemetry.trace" not in sys.modules:  # whoever has made a span has imported it
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return trace_context(headers.get("traceparent"), headers.get("tracestate"))


def headers_of(context: str | None) -> Mapping[str, str]:
    """Return the headers of a trace context; empty for None."""
    return {} if context is None else json.decode(context, type=dict[str, str])


def trace_id_of(context: str | None) -> str | None:
    """Return the id of the trace, 32 hex digits; None without a trace context."""
    if context is None:
        return None
    if context.startswith(_BEGIN):  # as `trace_context` writes it; each claim asks for it
        return context[len(_BEGIN) + 3 : len(_BEGIN) + 35]
    return headers_of(context)["traceparent"][3:35]


def trace_id(traceparent: str) -> str | None:
    """Return the trace id of the header `traceparent`; None if the header is not valid."""
    found = _PARENT.fullmatch(traceparent.strip())
    if found is None:
        return None
    version, trace, span, more = found.groups()
    fits = version != "ff" and (more is None or version > "00")
    return trace if fits and int(trace, 16) and int(span, 16) else None


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable()
