"""A request whose idempotency key is known, and that would be refused today."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from raytasks.api.app import create_app
from raytasks.handling.declaration import handler, handler_of
from raytasks.handling.registry import Registry
from raytasks.model.tasks import StoreUnavailable
from tests.local_service import URL, Api, LocalService, serving

HOUR = 3600.0
DAY = 24 * HOUR


class Narrow(BaseModel):
    """The payload that a later version of the handlers takes."""

    number: int


@handler("noop")
def narrow(payload: Narrow) -> None:
    """Stand for the same type after a deploy."""


@handler("other")
def other(payload: dict[str, Any]) -> None:
    """Stand for handlers without the type."""


@pytest.fixture
async def api(store_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The API without a runner, on each database."""
    async with serving(LocalService(store_url, tmp_path), runner=False) as api:
        yield api


@asynccontextmanager
async def later(
    api: Api, *, seconds: float = 0.0, handlers: Sequence[Callable[..., Any]] = ()
) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client of the same service after some time, or with other handlers."""
    service = api.service
    registry = Registry([handler_of(each) for each in handlers]) if handlers else service.registry
    app = create_app(
        service.backend, registry, service.settings, clock=lambda: time.time() + seconds
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as client:
        yield client


def request(**options: Any) -> dict[str, Any]:
    return {"task_type": "noop", "payload": {"n": 1}, **options}


def at(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


async def post(client: httpx.AsyncClient, body: Any, key: str | None = "key") -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    path = "/tasks/batch" if "tasks" in body else "/tasks/"
    return await client.post(path, json=body, headers=headers)


def ids(answer: httpx.Response) -> list[str]:
    document = answer.json()
    return [task["task_id"] for task in document.get("tasks", [document])]


CHANGES: dict[str, dict[str, Any]] = {
    "expired": {"seconds": HOUR},
    "another model": {"handlers": [narrow]},
    "no such type": {"handlers": [other]},
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["one", "batch"])
async def test_it_is_answered_with_what_was_accepted(api: Api, change: str, kind: str) -> None:
    body = request(expires_at=at(60))
    body = body if kind == "one" else {"tasks": [body, request(priority=3)]}
    first = await post(api.client, body)
    assert first.status_code == 202
    async with later(api, **CHANGES[change]) as client:
        again = await post(client, body)
        assert (again.status_code, ids(again)) == (200, ids(first))
        assert "Raytasks-Duplicate" not in again.headers
        assert again.headers.get("Location") == first.headers.get("Location")
        for key in ("new", None):
            assert (await post(client, body, key)).status_code == 422
    assert await api.total() == len(ids(first))


@pytest.mark.parametrize("kind", ["one", "batch"])
async def test_another_request_with_the_key_is_refused(api: Api, kind: str) -> None:
    def body(**options: Any) -> dict[str, Any]:
        one = request(expires_at=expiry, **options)
        return one if kind == "one" else {"tasks": [one]}

    expiry = at(60)
    assert (await post(api.client, body())).status_code == 202
    async with later(api, seconds=HOUR) as client:
        refused = await post(client, body(priority=1))
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"].endswith("/expires_at")
    assert await api.total() == 1


async def test_a_key_counts_in_its_namespace(api: Api) -> None:
    body = request(expires_at=at(60))
    assert (await post(api.client, body)).status_code == 202
    async with later(api, seconds=HOUR) as client:
        elsewhere = await client.post(
            "/tasks/", json=body, params={"namespace": "b"}, headers={"Idempotency-Key": "key"}
        )
        assert elsewhere.status_code == 422


async def test_a_key_of_one_request_is_not_that_of_a_batch(api: Api) -> None:
    body = request(expires_at=at(60))
    assert (await post(api.client, body)).status_code == 202
    async with later(api, seconds=HOUR) as client:
        assert (await post(client, {"tasks": [body]})).status_code == 422


async def test_one_answered_with_the_holder_of_its_unique_key_is_so_again(api: Api) -> None:
    unique = {"key": "only"}
    holder = await post(api.client, request(unique=unique), "first")
    body = request(unique=unique, expires_at=at(60))
    answered = await post(api.client, body)
    assert (answered.status_code, ids(answered)) == (200, ids(holder))
    async with later(api, seconds=HOUR) as client:
        again = await post(client, body)
        assert (again.status_code, ids(again)) == (200, ids(holder))
        assert again.headers["Raytasks-Duplicate"] == "true"


async def test_only_what_is_refused_is_looked_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = api.service.backend.read

    async def read(query: Any) -> Any:
        asked.append(type(query).__name__)
        return await real(query)

    monkeypatch.setattr(api.service.backend, "read", read)
    await post(api.client, request())
    await post(api.client, {"tasks": [request()]}, "batch")
    await post(api.client, request(expires_at=at(-60)), None)
    await post(api.client, {"task_type": 5}, "never valid")
    assert asked == []
    await post(api.client, request(expires_at=at(-60)), "new")
    assert asked == ["RepeatedSubmissions"]


async def test_while_nobody_can_tell_it_is_not_refused(api: Api) -> None:
    """A refusal would say that it was never accepted."""
    body = request(expires_at=at(60))
    first = await post(api.client, body)
    async with later(api, seconds=HOUR) as client:
        api.service.backend.failure = StoreUnavailable("the database is away")
        assert (await post(client, body)).status_code == 503
        api.service.backend.failure = None
        assert ids(await post(client, body)) == ids(first)
