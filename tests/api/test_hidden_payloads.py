"""A payload's secrets: the handler gets them, and no answer of the API has them."""

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, SecretStr
from pydantic_core import to_json

from raytasks.handling.context import LocalChannel
from raytasks.handling.declaration import handler, handler_of
from raytasks.model.hidden import MARK
from raytasks.protocol.messages import Claim
from raytasks.runner.attempt import Attempt
from raytasks.runner.workplace import Workplace
from tests.local_service import LocalService, serving


class Login(BaseModel):
    user: str
    password: SecretStr
    code: str = Field(default="", exclude=True)


@handler("login")
def login(payload: Login) -> int:
    return len(payload.password.get_secret_value())


LOGIN = {"user": "u", "password": "hunter22", "code": "door-4711"}


@pytest.mark.parametrize("large", [False, True])
async def test_no_answer_has_a_secret(sqlite_url: str, tmp_path: Path, large: bool) -> None:
    service = LocalService(sqlite_url, tmp_path, **({"offload_bytes": 10} if large else {}))
    service.registry.add(handler_of(login))
    async with serving(service, runner=True) as api:
        body = {"task_type": "login", "payload": LOGIN}
        key = {"Idempotency-Key": "one"}
        made = await api.client.post("/tasks/", json=body, headers=key)
        task = made.json()
        path = f"/tasks/{task['task_id']}"
        ended = await api.finished(task)
        assert ended["result"] == 8
        assert ended["payload"] == {"user": "u", "password": MARK, "code": MARK}
        later = {**body, "delay_seconds": 60}
        waiting = (await api.client.post("/tasks/", json=later)).json()["task_id"]
        answers = [
            made,
            await api.client.post("/tasks/", json=body, headers=key),
            await api.client.post("/tasks/batch", json={"tasks": [body]}),
            await api.client.get(path),
            await api.client.get("/tasks/"),
            await api.client.post(f"/tasks/{waiting}/cancel"),
            await api.client.post(f"/tasks/{waiting}/retry"),
        ]
        for answer in answers:
            assert answer.status_code < 300, answer.text
            assert "hunter22" not in answer.text
            assert "door-4711" not in answer.text


def test_a_payload_that_no_longer_fits_does_not_tell_its_secrets() -> None:
    class Later(BaseModel):
        user: int
        password: int

    @handler("login")
    def newer(payload: Later) -> None:
        raise AssertionError

    claim = Claim("t", "login", 1, to_json(LOGIN).decode(), 0, 3, None, None)
    outcome = Attempt(handler_of(newer), claim, Workplace()).run(newer, LocalChannel())
    assert outcome.error is not None
    assert "/payload/password" in outcome.error
    assert "hunter22" not in outcome.error
