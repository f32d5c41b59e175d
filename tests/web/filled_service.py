"""A service without Ray, filled with tasks of all kinds, and behind a proxy's path as well."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tests.keyring import API_KEYS, bearer
from tests.local_service import LocalService, served
from tests.web import handlers
from tests.web.surroundings import cancel_many, remember_a_day, surround, with_schedules

PREFIX = "/behind/a/proxy"
"""A path that the service cuts off, as a proxy in front of it would."""

BIG = 12345678901234567890123
"""An integer that JavaScript's numbers cannot hold."""

VALUES = {"file": "talk-18.ogg", "id": BIG, "title": 'ä \u2028 "quoted" </script>', "marks": []}
"""A payload with what is hard to show."""

SECRET = "whsec_bm90LWEtc2VjcmV0LW9ubHktYW4tZXhhbXBsZQ=="
"""A secret for callbacks. No runner of this service delivers any."""

UNIQUE = {
    "task_type": "transcribe",
    "payload": VALUES,
    "delay_seconds": 3600,
    "expires_seconds": 7200,
    "unique": {"key": "talk-18", "seconds": 5400},
    "callback_url": "https://hooks.example.com/transcribed",
}
"""A submission with a unique key, an expiry and a callback."""


NO_REPLICA = PlainTextResponse("no replica", HTTPStatus.SERVICE_UNAVAILABLE)
"""The answer of an ingress whose replica is away."""


class Proxy:
    """An ASGI wrapper that serves an app below `PREFIX` as well; the app does not know of it.

    While it is `down`, it answers browsers as an ingress does whose replica is away.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.down = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without the prefix."""
        if scope["type"] == "http" and scope["path"].startswith(f"{PREFIX}/"):
            cut = len(PREFIX)
            scope = {**scope, "path": scope["path"][cut:], "raw_path": scope["raw_path"][cut:]}
        if scope["type"] != "http" or b"Mozilla" not in dict(scope["headers"])[b"user-agent"]:
            await self._app(scope, receive, send)
        elif self.down:
            await NO_REPLICA(scope, receive, send)
        else:
            await self._cut_short(scope, receive, send)

    async def _cut_short(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer, until the replica goes down.

        Then an answer that has begun breaks off; in place of any other stands the proxy's own.
        """
        begun = False

        async def passed_on(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        answering = asyncio.ensure_future(self._app(scope, receive, passed_on))
        while not answering.done():
            await asyncio.wait([answering], timeout=0.05)
            if self.down and not answering.done():
                answering.cancel()
                await asyncio.wait([answering])
                if begun:
                    raise ConnectionAbortedError("the replica has gone down")
                await NO_REPLICA(scope, receive, send)
                return
        answering.result()


@dataclass
class FilledService:
    """A running service: its URL, what stands before it, the service itself, and its tasks by name.

    `bulk` among the tasks is a bulk operation. The only runner is held by the task `runs`, until
    `handlers.GO` is set.
    """

    url: str
    proxy: Proxy
    service: LocalService
    tasks: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def client(self, key: str) -> Iterator[httpx.Client]:
        """A client with a key of `tests.keyring`."""
        with httpx.Client(base_url=self.url, headers=bearer(key), timeout=20) as client:
            yield client


def submit(client: httpx.Client, **request: Any) -> str:
    """Submit a task (by default one that succeeds), and return its id."""
    body = {"task_type": "scripted", "payload": {}} | request
    response = client.post("/tasks/", json=body)
    assert response.status_code == 202, response.text
    task_id: str = response.json()["task_id"]
    return task_id


def until_final(client: httpx.Client, task_id: str) -> dict[str, Any]:
    """Wait until a task has ended, and return it."""
    task: dict[str, Any] = client.get(f"/tasks/{task_id}", params={"wait": 20}).json()
    assert task["finished_at"] is not None, task
    return task


def until_begun(client: httpx.Client, task_id: str) -> None:
    """Wait until an attempt of a task runs."""
    with client.stream("GET", f"/tasks/{task_id}/events") as events:
        for line in events.iter_lines():
            if '"state":"RUNNING"' in line:
                return


@contextlib.contextmanager
def filled_service(
    database_url: str, folder: Path, *, more: bool = False
) -> Iterator[FilledService]:
    """A service with keys that has tasks in all states; for pictures with `more` of them."""
    service = LocalService(
        database_url,
        folder,
        api_keys=API_KEYS,
        secret_key="own",
        callback_secrets=f"default={SECRET}",
        task_modules=("tests.scripted", "tests.web.handlers", "raytasks.builtin"),
    )
    if more:
        remember_a_day(database_url, ("transcribe", "send_invoice", "embed_documents"))
    proxy = service.app = Proxy(service.app)
    handlers.GO.clear()
    with served(service) as url:
        surround(service)
        filled = FilledService(url, proxy, service)
        with filled.client("a") as client, filled.client("b") as other:
            if more:
                _submit_more(client)
            card = {"user": "u-17", "token": "tok_93", "card": "4929 0000 1111 2222"}
            filled.tasks = {
                "done": submit(
                    client, task_type="transcribe", payload=VALUES, tags=["nightly"], priority=5
                ),
                "failed": submit(
                    client,
                    task_type="send_invoice",
                    payload={"customer": "c-40", "host": "mail.invalid"},
                    max_attempts=2,
                    tags=["nightly"],
                ),
                "secret": submit(client, task_type="charge_card", payload=card),
                "later": submit(client, delay_seconds=3600),
                "cancelled": submit(client, delay_seconds=3600),
                "theirs": submit(other),
                "unique": submit(client, **UNIQUE),
            }
            filled.tasks["scheduled"] = with_schedules(client)
            client.post(f"/tasks/{filled.tasks['cancelled']}/cancel", params={"message": "not now"})
            for _ in range(3):
                submit(client, task_type="transcribe", delay_seconds=3600, tags=["stale"])
            filled.tasks["bulk"] = cancel_many(client, "stale")
            for name in ("done", "failed", "secret", "scheduled"):
                until_final(client, filled.tasks[name])
            filled.tasks["runs"] = submit(
                client, task_type="embed_documents", payload={"shards": 5}
            )
            until_begun(client, filled.tasks["runs"])
            for number in range(4 if more else 0):
                submit(client, task_type="send_invoice", payload={"customer": f"c-{number}"})
        try:
            yield filled
        finally:
            handlers.GO.set()


def _submit_more(client: httpx.Client) -> None:
    """Submit what a service may have, and wait until it has ended."""
    sent = [
        submit(
            client,
            task_type="transcribe" if number % 3 else "send_invoice",
            payload={"file": f"talk-{number}.{'mp3' if number % 5 == 1 else 'ogg'}"}
            if number % 3
            else {
                "customer": f"c-{20 + number}",
                "host": "mail.invalid" if number == 9 else "mail",
            },
            max_attempts=1 if number == 9 else 3,
            tags=["nightly"] if number % 2 else ["web", f"customer:{number % 4}"],
        )
        for number in range(18)
    ]
    for task_id in sent:
        until_final(client, task_id)
