"""Validators of payload models run in the API: what they raise is a 422, and nobody waits."""

import asyncio
import threading
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from raytasks import handler
from raytasks.handling.declaration import handler_of
from tests.local_service import Api

RELEASED = threading.Event()


class Checked(BaseModel):
    """A model whose validator does as it is told."""

    mode: str

    @field_validator("mode")
    @classmethod
    def _check(cls, mode: str) -> str:
        match mode:
            case "key":
                raise KeyError(mode)
            case "exit":
                raise SystemExit(0)
            case "surrogate":
                raise ValueError("\ud800")
            case "hang":
                RELEASED.wait()
        return mode


@handler("checked")
def checked(payload: Checked) -> str:
    return payload.mode


@pytest.fixture
def checking(api: Api) -> Api:
    api.service.registry.add(handler_of(checked))
    return api


async def post(api: Api, *modes: str) -> Any:
    tasks = [{"task_type": "checked", "payload": {"mode": mode}} for mode in modes]
    if len(tasks) == 1:
        return await api.client.post("/tasks/", json=tasks[0])
    return await api.client.post("/tasks/batch", json={"tasks": tasks})


@pytest.mark.parametrize("modes", [("key",), ("exit",), ("surrogate",), ("fine", "key", "exit")])
async def test_errors_name_type_and_field(checking: Api, modes: tuple[str, ...]) -> None:
    answer = await post(checking, *modes)
    assert answer.status_code == 422
    assert all("/payload" in error["pointer"] for error in answer.json()["errors"])
    assert (await post(checking, "fine")).status_code == 202
    assert await checking.total() == 1


async def test_others_go_on_beside_a_check_that_hangs(
    checking: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    RELEASED.clear()
    hanging = asyncio.ensure_future(post(checking, "hang"))
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(3):
            assert (await checking.client.get("/health")).status_code == 200
            body = {"task_type": "scripted", "payload": {}}
            assert (await checking.client.post("/tasks/", json=body)).status_code == 202
            assert (await post(checking, "fine")).status_code == 202
        answer = await hanging
        assert answer.status_code == 422
        assert "checked took longer than" in answer.text
    finally:
        RELEASED.set()
