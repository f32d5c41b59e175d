"""A service that is played: it answers what the examples of the client's documents ask."""

import json
from typing import Any

import httpx

from tests.client_wire import sse

TASK = {
    "task_id": "id", "task_type": "text_processing", "state": "COMPLETED", "attempt": 1,
    "result": {"words": 4}, "error": None,
}  # fmt: skip
OPERATION = {"bulk_id": "b", "state": "DONE", "matched": 3, "changed": 2, "looked_at": 3}
LOG = {"attempt": 1, "level": "INFO", "message": "counting", "at": None}
EVENTS = [
    sse("state", TASK, "1.0"), sse("log", LOG, "1.1"),
    sse("progress", {"attempt": 1, "fraction": 0.5, "message": "half"}),
    sse("end", {"task_id": "id", "state": "COMPLETED"}),
]  # fmt: skip
FEED = [sse("gap", {}), sse("state", {**TASK, "state": "FAILED"}, "1:1")]
ANSWERS: dict[tuple[str, str], Any] = {
    ("POST", "/tasks/"): TASK,
    ("POST", "/tasks/batch"): {"tasks": [TASK] * 3},
    ("GET", "/tasks/id"): TASK,
    ("GET", "/tasks/"): {"tasks": [TASK], "next_cursor": None},
    ("GET", "/bulk/b"): OPERATION,
    ("GET", "/tasks/id/artifacts"): {"artifacts": [{"name": "a.png", "bytes": 1, "url": "/x"}]},
    ("GET", "/artifacts/id/a.png"): {},
    ("GET", "/stats"): {"windows": {"hour": {"failure_rate": 0.25}}},
}


def play(request: httpx.Request) -> httpx.Response:
    """Answer a request of an example."""
    path = request.url.path
    if path.endswith("/events"):
        body = b"".join(FEED if path == "/tasks/events" else EVENTS)
        return httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})
    if path == "/bulk":
        dry_run = json.loads(request.content)["dry_run"]
        return httpx.Response(200, json={"matched": 3} if dry_run else OPERATION)
    return httpx.Response(200, json=ANSWERS[request.method, path])
