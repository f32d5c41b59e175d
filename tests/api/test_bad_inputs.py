"""Bad input to every endpoint: a clear answer, soon, and nothing is stored."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.local_service import Api, LocalService, served

SHARED = pytest.mark.asyncio(loop_scope="module")  # with the service of the module

BODY_PATHS = ["/tasks/", "/tasks/batch", "/bulk"]
UNKNOWN = "0198c1de-0000-7000-8000-000000000000"
ID_PATHS = [
    ("GET", "/tasks/{}"),
    ("GET", "/tasks/{}/events"),
    ("POST", "/tasks/{}/retry"),
    ("POST", "/tasks/{}/cancel"),
    ("GET", "/bulk/{}"),
]
DEEP = 50_000

BAD_BODIES: dict[str, bytes] = {
    "nothing": b"",
    "half": b'{"task_type": "scripted", "payload": {"value": ',
    "two values": b"{} {}",
    "invalid UTF-8": b'{"task_type": "\xff\xfe"}',
    "a lone surrogate": b'{"task_type": "\\ud800"}',
    "UTF-16": '{"task_type": "scripted"}'.encode("utf-16"),
    "null bytes": b"\x00\x00\x00",
    "NaN": b'{"task_type": NaN}',
    "infinity": b'{"task_type": -Infinity}',
    "a number beyond all": b'{"task_type": 1e999}',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "deep and open": b"[" * DEEP,
}
BAD_VALUES: list[Any] = [
    None,
    True,
    7,
    10**400,
    "text",
    [],
    {},
    {"tasks": 7},
    {"task_type": "\x00", "payload": {}},
    {"task_type": "scripted\x00", "payload": {}},
    {"task_type": "x" * 5000, "payload": {}},
    {"task_type": "scripted", "payload": {"step": "dance"}},
    {"tasks": [{"task_type": "scripted", "payload": {"step": "dance"}}]},
    {"tasks": [{"task_type": "scripted", "payload": {}}, None]},
    {"task_type": "scripted", "payload": {}, "run_at": "2026-02-30T00:00:00Z"},
    {"task_type": "scripted", "payload": {}, "priority": 10**30},
    {"task_type": "scripted", "payload": {}, "tags": ["a\x00b"]},
    {"task_type": "scripted", "payload": {}, "tags": [["a"]]},
    {"__proto__": {"task_type": "scripted"}, "payload": {}},
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FIELDS = st.sampled_from(
    ["task_type", "payload", "priority", "max_attempts", "timeout_seconds", "delay_seconds",
     "run_at", "tags", "tasks", "action", "state", "tag", "dry_run"]
)  # fmt: skip
QUIET = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)


async def stored_after(api: Api, path: str, body: bytes) -> tuple[int, int]:
    """Post a body; return the answer's status, and how many tasks there are then."""
    async with asyncio.timeout(10):
        response = await api.client.post(
            path, content=body, headers={"Content-Type": "application/json"}
        )
    if response.status_code >= 400:
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["detail"]
    return response.status_code, await api.total()


@pytest.mark.parametrize("path", BODY_PATHS)
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
@SHARED
async def test_what_is_no_json(calm_api: Api, path: str, body: bytes) -> None:
    status, stored = await stored_after(calm_api, path, body)
    assert status in (400, 422)  # the latter for what is too deep
    assert stored == 0


@pytest.mark.parametrize("path", BODY_PATHS)
@pytest.mark.parametrize("value", BAD_VALUES, ids=lambda value: ascii(value)[:60])
@SHARED
async def test_json_that_is_not_asked_for(calm_api: Api, path: str, value: Any) -> None:
    assert await stored_after(calm_api, path, json.dumps(value).encode()) == (422, 0)


@pytest.mark.parametrize(
    ("body", "place", "name"),
    [
        (b'{"task_type": "scripted", "task_type": "noop", "payload": {}}', "", "task_type"),
        (b'{"task_type":"noop","payload":{"a":1,"a":2}}', "/payload", "a"),
        (b'{"tasks": [{"task_type": "noop", "payload": {"b": [{"": 1, "": 1}]}}]}',
         "/tasks/0/payload/b/0", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", BODY_PATHS)
async def test_a_name_twice_is_refused_since_one_value_would_get_lost(
    api: Api, path: str, body: bytes, place: str, name: str
) -> None:
    answer = await api.client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["pointer"] == place
    assert error["message"].startswith(f"an object with the name {name!r} twice")
    assert await api.total() == 0


@pytest.mark.parametrize("path", BODY_PATHS)
async def test_a_body_of_ten_megabytes(api: Api, path: str) -> None:
    body = b'{"task_type": "scripted", "payload": "' + b"x" * 10_000_000 + b'"}'
    status, stored = await stored_after(api, path, body)
    assert status in (413, 422)
    assert stored == 0


@pytest.mark.parametrize("path", BODY_PATHS)
async def test_whatever_is_sent_is_answered(api: Api, path: str) -> None:
    """Any JSON, and objects with our names and any values: never an error of our own."""
    loop = asyncio.get_running_loop()
    objects = st.dictionaries(FIELDS, JSON | st.just("scripted"), max_size=6)

    @QUIET
    @given(value=objects | JSON)
    def try_out(value: Any) -> None:
        sent = stored_after(api, path, json.dumps(value).encode())
        status, stored = asyncio.run_coroutine_threadsafe(sent, loop).result(20)
        assert status in (400, 422) or (status == 202 and stored)

    await asyncio.to_thread(try_out)


@pytest.mark.parametrize(("method", "path"), ID_PATHS)
@pytest.mark.parametrize(
    "name",
    ["%00", "..", "%2e%2e%2f%2e%2e", "%2Fetc%2Fpasswd", "a%0d%0ab", "%ff%fe", "'%20OR%201=1--",
     UNKNOWN.upper(), f"{UNKNOWN}%00", "x" * 5000],
    ids=lambda name: name[:30],
)  # fmt: skip
@SHARED
async def test_ids_that_are_none(calm_api: Api, method: str, path: str, name: str) -> None:
    async with asyncio.timeout(10):
        response = await calm_api.client.request(method, path.format(name))
    assert response.status_code in (404, 405)
    assert response.headers["content-type"] == "application/problem+json"


@pytest.fixture
async def url(sqlite_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """A service that is reached through real sockets."""
    with served(LocalService(sqlite_url, tmp_path)) as address:
        yield address


@pytest.mark.parametrize("path", BODY_PATHS)
def test_a_body_that_is_sent_by_half(url: str, path: str) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    body = b'{"task_type": "scripted", "payload": {}}'
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    for cut in (0, 1, len(body) - 1):
        with socket.create_connection((host, int(port)), 5) as line:
            line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:cut])
    with httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get("/tasks/").json()["total"] == 0
        assert client.post("/tasks/", content=body, headers={"Content-Type": "application/json"})
