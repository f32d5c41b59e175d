"""An OpenTelemetry SDK that keeps the spans of this process, for one test."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from raytasks.observe import traces


class Spans:
    """The spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def named(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name, in the order of their end."""
        return [span for span in self._exporter.get_finished_spans() if span.name == name]


@contextmanager
def recorded(monkeypatch: Any) -> Iterator[Spans]:
    """Record the spans of this process; OpenTelemetry itself allows one SDK in each process."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)  # it can be set once in a process
    assert traces.is_recording()
    yield Spans(exporter)
