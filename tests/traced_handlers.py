"""Handlers of a test of traces, and the SDK that a user's module sets up: spans go by OTLP."""

from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import raytasks
from raytasks import Context, RetryPolicy, handler

_provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=200))
trace.set_tracer_provider(_provider)


@raytasks.traced_remote(num_cpus=0)
def double(number: int) -> int:
    """Return twice the number."""
    return 2 * number


@handler("traced", retry=RetryPolicy(max_attempts=3, initial_delay_seconds=0.01))
def traced(payload: Any, context: Context) -> Any:
    """Fail twice, then ask a Ray remote task."""
    import ray

    if context.attempt < 3:
        raise ConnectionError("not yet")
    return ray.get(double.remote(21))


@handler("traced_elsewhere", ray_options={"num_cpus": 0.5})
def traced_elsewhere(payload: Any) -> Any:
    """Succeed in a Ray remote task."""
    return None
