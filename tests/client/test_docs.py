"""The examples of docs/client.md run, on a service that the test plays."""

import functools
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

import raytasks.client
from tests.client_wire import sse

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

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
    path = request.url.path
    if path.endswith("/events"):
        body = b"".join(FEED if path == "/tasks/events" else EVENTS)
        return httpx.Response(200, content=body, headers={"content-type": "text/event-stream"})
    if path == "/bulk":
        dry_run = json.loads(request.content)["dry_run"]
        return httpx.Response(200, json={"matched": 3} if dry_run else OPERATION)
    return httpx.Response(200, json=ANSWERS[request.method, path])


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (0, ["{'words': 4}", "COMPLETED"]),
        (1, ["3"]),
        (2, ["id"]),
        (3, ["COMPLETED 1", "INFO counting", "0.5 half"]),
        (4, ["some changes were missed: list again", "id"]),
        (5, ["id None", "3", "2 of 3", "0.25"]),
    ],
)
def test_it_runs(
    number: int,
    says: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("Client", "AsyncClient"):
        kind = getattr(raytasks.client, name)
        client = functools.partial(kind, transport=httpx.MockTransport(play))
        monkeypatch.setattr(raytasks.client, name, client)
    exec(compile(EXAMPLES[number], f"example {number}", "exec"), {})
    assert capsys.readouterr().out.splitlines() == says


def test_each_example_is_run() -> None:
    assert len(EXAMPLES) == 6
    for name in raytasks.client.__all__:
        kind = getattr(raytasks.client, name)
        if isinstance(kind, type) and issubclass(kind, raytasks.client.ApiError):
            assert f"`{name}`" in TEXT
