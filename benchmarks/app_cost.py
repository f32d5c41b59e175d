"""The cost of a request in the API's app, beside an app that does nothing: no cluster, no network.

`python -m benchmarks.app_cost [ROUNDS]` calls the ASGI apps in turn, one request at a time, with a
tracker that answers at once. It prints the processor time of a request: the least and the median of
the rounds. It also prints the ratio of the least to that of the no-op.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import uvloop
from pydantic_core import to_json
from starlette.types import ASGIApp, Message

from benchmarks import handlers
from benchmarks.servers import noop_server
from raytasks.api.app import create_app
from raytasks.handling.declaration import handler_of
from raytasks.handling.registry import Registry
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import AttemptRecord, Duplicate, NewTask, Task
from raytasks.settings import Settings

ROUNDS = 15
CALLS = 300
"""Requests of a kind that follow each other in a round: few, so that all kinds share its noise."""

_ID = "0198c0de-1234-7abc-8def-0123456789ab"
_AT = 1_767_225_600.123456
_TASK = Task(
    task_id=_ID,
    task_type=handlers.NOOP,
    state=State.COMPLETED,
    payload="{}",
    result="null",
    error=None,
    priority=0,
    attempt=1,
    max_attempts=3,
    failures=0,
    crashes=0,
    cancel_requested=False,
    timeout_seconds=None,
    progress_fraction=None,
    progress_message=None,
    created_at=_AT,
    run_at=_AT,
    started_at=_AT + 0.01,
    finished_at=_AT + 0.02,
    updated_at=_AT + 0.02,
    revision=2,
)
_ATTEMPT = AttemptRecord(
    task_id=_ID,
    attempt=1,
    outcome=OutcomeKind.SUCCEEDED,
    runner_id="runner-1",
    started_at=_AT + 0.01,
    finished_at=_AT + 0.02,
    node_id="1" * 56,
    worker_id="2" * 56,
    state=State.COMPLETED,
    revision=2,
)
_HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"user-agent", b"Python/3.12 aiohttp/3.13"),
    (b"x-forwarded-for", b"127.0.0.1"),
]


class _Backend:
    """A tracker that answers at once; the rest of `Backend` is not called."""

    async def submit(self, _tasks: Sequence[NewTask]) -> dict[str, Duplicate]:
        return {}

    async def task(self, _task_id: str) -> tuple[Task, list[AttemptRecord]]:
        return _TASK, [_ATTEMPT]

    async def changes(self, *_place: Any) -> Any:
        await asyncio.Future()

    async def events(self, _queries: Any) -> Any:
        raise NotImplementedError


@dataclass
class Request:
    """A request that is made again and again, and the app that gets it."""

    name: str
    app: ASGIApp
    method: str
    path: str
    status: int
    body: bytes = b""
    query: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()
    costs: list[float] = field(default_factory=list)
    """The processor seconds of a request, in each round."""

    async def measure(self, calls: int) -> None:
        """Make so many requests, and note what one cost."""
        begun = time.process_time()
        for _ in range(calls):
            await self.make()
        self.costs.append((time.process_time() - begun) / calls)

    async def make(self) -> None:
        """Make the request. Raises `RuntimeError` if the answer is not the one that is due."""
        given = False
        status = 0

        async def receive() -> Message:
            nonlocal given
            if given:
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": self.body, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)

        await self.app(self._scope(), receive, send)
        if status != self.status:
            raise RuntimeError(f"{self.name} was answered with {status}")

    def _scope(self) -> dict[str, Any]:
        headers = [*_HEADERS, *self.headers]
        if self.body:
            headers += [
                (b"content-length", str(len(self.body)).encode()),
                (b"content-type", b"application/json"),
            ]
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": self.path,
            "raw_path": self.path.encode(),
            "query_string": self.query,
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }


def requests() -> list[Request]:
    """Return the measured requests; the others are compared with the first."""
    registry = Registry([handler_of(handlers.noop)])
    settings = Settings(_env_file=None, debug=True)
    app = create_app(_Backend(), registry, settings)  # type: ignore[arg-type]
    body = to_json({"task_type": handlers.NOOP, "payload": {}})
    key = (b"idempotency-key", b"0198c0de-1234-7abc-8def-0123456789ab")
    return [
        Request("no-op POST", noop_server.app, "POST", "/tasks/", 202, body),
        Request("POST /tasks/", app, "POST", "/tasks/", 202, body),
        Request("POST /tasks/ with a key", app, "POST", "/tasks/", 202, body, headers=[key]),
        Request("GET /tasks/{id}", app, "GET", f"/tasks/{_ID}", 200),
        Request("GET /tasks/{id}?wait=", app, "GET", f"/tasks/{_ID}", 200, query=b"wait=20"),
    ]


async def measure(rounds: int, calls: int = CALLS) -> list[Request]:
    """Make all requests, in turn, so many rounds."""
    made = requests()
    for request in made:
        await request.measure(calls)
        request.costs.clear()  # the first round only warms up
    for _ in range(rounds):
        for request in made:
            await request.measure(calls)
    return made


def main() -> None:
    """Measure, and print."""
    made = uvloop.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
    unit = min(made[0].costs)
    print(f"{'processor time of a request':32}{'least':>10}{'median':>10}{'no-ops':>8}")
    for request in made:
        least, median = min(request.costs), statistics.median(request.costs)
        print(f"{request.name:32}{1e6 * least:7.0f} us{1e6 * median:7.0f} us{least / unit:8.2f}")


if __name__ == "__main__":
    main()
