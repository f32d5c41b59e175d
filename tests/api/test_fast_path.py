"""The short way of plain requests answers as the framework's own way does, byte for byte."""

import re
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope

from raytasks.api.fast_path import FastPath
from raytasks.model.tasks import StoreUnavailable
from tests.keyring import bearer, locked
from tests.local_service import Api, LocalService, serving

UNKNOWN = "0198c1de-0000-7000-8000-000000000000"
JSON = {"Content-Type": "application/json"}
GOOD = b'{"task_type":"scripted","payload":{}}'
POSTS: tuple[tuple[bytes, dict[str, str]], ...] = (
    (GOOD, JSON),
    (GOOD, {"Content-Type": "Application/JSON; charset=utf-8"}),
    (GOOD, {}),
    (GOOD, {"Content-Type": "text/plain"}),
    (GOOD, JSON | {"Idempotency-Key": "one"}),
    (GOOD, JSON | {"Idempotency-Key": "one"}),
    (b'{"task_type":"scripted","payload":{},"priority":1}', JSON | {"Idempotency-Key": "one"}),
    (GOOD, JSON | {"Idempotency-Key": ""}),
    (GOOD, JSON | {"Idempotency-Key": "k" * 256}),
    (GOOD, JSON | {"idempotency_key": "one"}),
    (b"", JSON),
    (b"{", JSON),
    (b"[]", JSON),
    (b"\xff", JSON),
    (b"[1e999]", JSON),
    (b"[" * 150 + b"]" * 150, JSON),
    (b"[" * 300 + b"]" * 300, JSON),
    (b" " * 3000, JSON),
    (b'{"task_type":"nothing","payload":{}}', JSON),
    (b'{"task_type":"scripted","payload":7}', JSON),
    (b'{"task_type":"scripted","payload":{},"priority":"x","more":1,"tags":["a","a"]}', JSON),
    (
        b'{"task_type":"scripted","payload":{"do":[]},"tags":["a","b"],"timeout_seconds":0.25,'
        b'"priority":-3,"max_attempts":2,"run_at":"2031-01-01T00:00:00Z"}',
        JSON,
    ),
)
GET_QUERIES = (
    "",
    "?wait=0",
    "?wait=0.01",
    "?wait=00.5",
    "?wait=60.0000001",
    "?wait=61",
    "?wait=-1",
    "?wait=abc",
    "?wait=",
    "?wait=0&wait=0",
    "?wait=0&namespace=default",
    "?namespace=elsewhere",
    "?namespace=UPPER",
    "?what=1",
)
CALLERS: tuple[dict[str, str], ...] = (
    {},
    *(bearer(name) for name in "rsoabx"),
    {"Authorization": "Basic abc"},
)


def told(response: httpx.Response, ids: dict[str, str]) -> tuple[int, object, str]:
    """Return all of an answer but for ids, which get numbers, and times."""

    def numbered(found: re.Match[str]) -> str:
        return ids.setdefault(found[0], f"id-{len(ids)}")

    def plain(text: str) -> str:
        text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", numbered, text)
        return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)

    headers = [(name, plain(value)) for name, value in response.headers.multi_items()]
    if "content-length" in response.headers:
        length = int(response.headers["content-length"])
        assert response.request.method == "HEAD" or length == len(response.content)
        headers = [
            (name, "LENGTH" if name == "content-length" else value) for name, value in headers
        ]
    return response.status_code, headers, plain(response.text)


async def ask_all(api: Api, callers: tuple[dict[str, str], ...]) -> list[Any]:
    """Make the whole table of requests, and return what the answers tell."""
    ids: dict[str, str] = {}
    answers = []

    async def ask(method: str, path: str, **more: Any) -> httpx.Response:
        response = await api.client.request(method, path, **more)
        answers.append((method, told(response, ids)))
        return response

    for caller in callers:
        known = UNKNOWN
        for body, headers in POSTS:
            made = await ask("POST", "/tasks/", content=body, headers=headers | caller)
            if made.status_code == 202:
                known = made.json()["task_id"]
        for path in ("/tasks", "/tasks/?namespace=other", "/tasks/?x=1"):
            await ask("POST", path, content=GOOD, headers=JSON | caller)
        for query in GET_QUERIES:
            await ask("GET", f"/tasks/{known}{query}", headers=caller)
        for task_id in (UNKNOWN, UNKNOWN.upper(), "x", known + "/", known + "%0A", known + "0"):
            await ask("GET", f"/tasks/{task_id}", headers=caller)
        for method in ("HEAD", "DELETE", "OPTIONS"):
            await ask(method, f"/tasks/{known}", headers=caller)
        for failure in (StoreUnavailable("away"), RuntimeError("a mistake")):
            api.service.backend.failure = failure
            await ask("POST", "/tasks/", content=GOOD, headers=JSON | caller)
            await ask("GET", f"/tasks/{UNKNOWN}", headers=caller)
            api.service.backend.failure = None
    return answers


class TestAsTheFramework:
    @pytest.fixture
    def short(self, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
        """Note for each request whether it goes the short way."""
        taken: list[bool] = []
        own = FastPath._answering

        def noting(self: FastPath, scope: Scope, receive: Receive) -> Awaitable[Any] | None:
            answering = own(self, scope, receive)
            taken.append(answering is not None)
            return answering

        monkeypatch.setattr(FastPath, "_answering", noting)
        return taken

    @pytest.mark.parametrize("keys", [False, True])
    async def test_every_answer_is_the_same(
        self, keys: bool, tmp_path: Path, short: list[bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        callers = CALLERS if keys else ({},)
        limits: dict[str, Any] = {"max_payload_bytes": 2000, "max_backlog": 12 if keys else 5}

        async def ask_service(folder: Path) -> list[Any]:
            folder.mkdir()  # noqa: ASYNC240 - a test alone waits for it
            url = f"sqlite:///{folder / 'tasks.db'}"
            if keys:
                async with locked(url, folder, debug=False, **limits) as api:
                    return await ask_all(api, callers)
            async with serving(LocalService(url, folder, **limits), runner=False) as api:
                return await ask_all(api, callers)

        by_shortcut = await ask_service(tmp_path / "short")
        assert short.count(True) > len(callers) * 10
        assert short.count(False) > len(callers) * 5
        monkeypatch.setattr(FastPath, "_answering", lambda *_: None)
        by_framework = await ask_service(tmp_path / "long")
        assert {status for _, (status, *_) in by_shortcut} >= {202, 400, 404, 415, 422, 429, 500}
        assert by_shortcut == by_framework


class TestErrors:
    @pytest.fixture
    async def failing(self, sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
        async with serving(LocalService(sqlite_url, tmp_path), runner=False) as api:
            yield api

    async def send(self, api: Api, method: str, path: str, **more: Any) -> httpx.Response:
        """Send a request to the app, whose errors come out here."""
        transport = httpx.ASGITransport(api.service.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **more)

    @pytest.mark.parametrize("query", ["", "?namespace=default"])
    async def test_a_mistake_of_ours_reaches_the_server_s_log(
        self, failing: Api, query: str
    ) -> None:
        failing.service.backend.failure = RuntimeError("a mistake")
        with pytest.raises(RuntimeError, match="a mistake"):
            await self.send(failing, "GET", f"/tasks/{UNKNOWN}{query}")

    @pytest.mark.parametrize(
        "path", ["/tasks/", "/tasks/?namespace=default", "/tasks/batch", "/bulk"]
    )
    async def test_a_client_s_mistake_does_not(self, failing: Api, path: str) -> None:
        response = await self.send(failing, "POST", path, content=b"{", headers=JSON)
        assert response.status_code == 400
