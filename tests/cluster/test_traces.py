"""One trace from a client's request through failed attempts to a success and a Ray subtask."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.cluster.conftest import start_service

pytestmark = pytest.mark.slow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
SECONDS = 60


class Receiver(ThreadingHTTPServer):
    """A receiver of spans by OTLP over HTTP."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receiving)
        self.came = threading.Condition()
        self.spans: dict[str, list[Any]] = defaultdict(list)

    @property
    def url(self) -> str:
        """The address to send spans to."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self, body: bytes) -> None:
        """Take spans, by their names."""
        request = ExportTraceServiceRequest.FromString(body)
        with self.came:
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        self.spans[span.name].append(span)
            self.came.notify_all()

    def named(self, name: str, count: int) -> list[Any]:
        """Return the spans of a name once there are so many, in the order of their beginnings."""
        with self.came:
            assert self.came.wait_for(lambda: len(self.spans[name]) >= count, SECONDS), self.spans
            return sorted(self.spans[name], key=lambda span: span.start_time_unix_nano)


class _Receiving(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Take one request of an exporter."""
        self.server.take(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of spans."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_one_trace_from_the_request_to_the_subtask(
    no_service: None, receiver: Receiver, tmp_path: Path
) -> None:
    service = start_service(
        tmp_path,
        TASK_MODULES="tests.traced_handlers",
        RAYTASKS_TRACE_PARENTING="child",
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url,
    )
    try:
        for name in ("traced", "traced_elsewhere"):
            body: dict[str, Any] = {"task_type": name, "payload": {}}
            answer = service.http.post("/tasks/", json=body, headers=HEADERS)
            done = service.wait(answer.json())
            assert done["state"] == "COMPLETED", done
            assert done["trace_id"] == TRACE
        [sent] = receiver.named("send traced", 1)
        attempts = receiver.named("process traced", 3)
        [part] = receiver.named("double", 1)
        [elsewhere] = receiver.named("process traced_elsewhere", 1)
        every = [sent, *attempts, part, elsewhere]
        assert {span.trace_id.hex() for span in every} == {TRACE}
        assert sent.parent_span_id.hex() == "00f067aa0ba902b7"
        assert [span.parent_span_id for span in attempts] == [sent.span_id] * 3
        assert [span.status.code for span in attempts] == [2, 2, 0]  # error, error, unset
        assert part.parent_span_id == attempts[-1].span_id
        began = time.time_ns() - 10**9 * SECONDS
        assert all(began < span.start_time_unix_nano < span.end_time_unix_nano for span in every)
    finally:
        service.http.close()
        assert service.stop() == 0
