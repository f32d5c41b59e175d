"""The trace context of a request: it is kept with the task, and a submission is a span of it."""

from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from tests.local_service import Api, LocalService, serving
from tests.observe.recorded import recorded

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}
BODY = {"task_type": "scripted", "payload": {}}


async def submitted(api: Api, headers: dict[str, str] = HEADERS) -> dict[str, Any]:
    """Submit a task with these headers, and return it."""
    answer = await api.client.post("/tasks/", json=BODY, headers=headers)
    assert answer.status_code == 202, answer.text
    task: dict[str, Any] = answer.json()
    return task


async def test_the_trace_of_a_request_is_kept_with_the_task(idle_api: Api) -> None:
    task = await submitted(idle_api)
    assert task["trace_id"] == TRACE
    stored = (await idle_api.client.get(f"/tasks/{task['task_id']}")).json()
    assert stored["trace_id"] == TRACE


async def test_a_header_that_is_not_one_changes_nothing(idle_api: Api) -> None:
    assert (await submitted(idle_api, {"traceparent": "nonsense"}))["trace_id"] is None
    assert (await submitted(idle_api, {}))["trace_id"] is None


async def test_a_submission_is_a_span_within_the_request(
    idle_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded(monkeypatch) as spans:
        task = await submitted(idle_api)
    [span] = spans.named("send scripted")
    assert span.parent is not None
    assert span.attributes is not None
    assert format(span.parent.trace_id, "032x") == TRACE == task["trace_id"]
    assert span.attributes["messaging.message.id"] == task["task_id"]
    assert span.kind is trace.SpanKind.PRODUCER


async def test_a_batch_has_one_span(idle_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(monkeypatch) as spans:
        answer = await idle_api.client.post(
            "/tasks/batch", json={"tasks": [BODY] * 3}, headers=HEADERS
        )
    assert {task["trace_id"] for task in answer.json()["tasks"]} == {TRACE}
    [span] = spans.named("send scripted")
    assert span.attributes is not None
    assert span.attributes["messaging.batch.message_count"] == 3


async def test_a_trace_outlives_the_tracker(sqlite_url: str, tmp_path: Path) -> None:
    async with serving(LocalService(sqlite_url, tmp_path), runner=False) as api:
        task = await submitted(api)
    async with serving(LocalService(sqlite_url, tmp_path), runner=True) as api:
        ended = await api.finished(task)
    assert ended["state"] == "COMPLETED"
    assert ended["trace_id"] == TRACE
