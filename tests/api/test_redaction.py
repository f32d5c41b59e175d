"""Values that a handler redacts: shown to those who operate, and on no way to others."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from raytasks.handling.declaration import handler, handler_of
from raytasks.model.hidden import MARK
from raytasks.testing import Queue
from tests.keyring import API_KEYS, bearer
from tests.local_service import Api, LocalService, serving

NUMBER, CODE = "4111-1111", "s3cret"


class Payment(BaseModel):
    card: dict[str, str]
    amount: int
    token: SecretStr = SecretStr("")


@handler("payment", redact=["/card/*"])
def payment(payload: Payment) -> int:
    if payload.amount < 0:
        Payment.model_validate({"card": payload.card, "amount": payload.card["number"]})
    return payload.amount


PAYLOAD = {"card": {"number": NUMBER}, "amount": 7, "token": CODE}
BODY = {"task_type": "payment", "payload": PAYLOAD}


@pytest.fixture
async def api(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    """A service with keys that runs payments."""
    service = LocalService(sqlite_url, tmp_path, api_keys=API_KEYS, secret_key="own")
    service.registry.add(handler_of(payment))
    async with serving(service, runner=True) as api:
        yield api


async def submitted(api: Api, **more: Any) -> Any:
    answer = await api.client.post("/tasks/", json={**BODY, **more}, headers=bearer("s"))
    assert answer.status_code == 202, answer.text
    return answer


async def waited(api: Api, task_id: str) -> Any:
    path = f"/tasks/{task_id}?wait=20"
    answer = await api.client.get(path, headers=bearer("r"))
    assert answer.json()["finished_at"], answer.text
    return answer


async def test_only_those_who_operate_see_it(api: Api) -> None:
    made = await submitted(api)
    task_id = made.json()["task_id"]
    ended = await waited(api, task_id)
    await api.client.post("/tasks/batch", json={"tasks": [BODY]}, headers=bearer("s"))
    answers = [made, ended]
    answers += [
        await api.client.get(path, headers=bearer("r"))
        for path in ("/tasks/", f"/tasks/{task_id}/events", "/errors", "/stats")
    ]
    for answer in answers:
        assert answer.status_code < 300, answer.text
        assert NUMBER not in answer.text
        assert CODE not in answer.text
    task = ended.json()
    assert task["payload"] == {"card": {"number": MARK}, "amount": 7, "token": MARK}
    assert sorted(task["hidden"]) == ["/card/number", "/token"]
    assert task["result"] == 7
    full = (await api.client.get(f"/tasks/{task_id}", headers=bearer("a"))).json()
    assert full["payload"] == {**PAYLOAD, "token": MARK}
    assert full["hidden"] == ["/token"]


async def test_errors_do_not_quote_values(api: Api) -> None:
    made = await submitted(api, payload={**PAYLOAD, "amount": -1}, max_attempts=1)
    ended = await waited(api, made.json()["task_id"])
    assert ended.json()["state"] == "FAILED"
    assert "amount: Input should be a valid integer" in ended.json()["error"]["message"]
    assert NUMBER not in ended.text
    full = await api.client.get(f"/tasks/{made.json()['task_id']}", headers=bearer("a"))
    assert "Traceback" in full.text
    trace = full.json()["error"]["traceback"]
    assert NUMBER not in trace.rpartition("ValidationError")[2]
    bad = {**BODY, "payload": {"card": {"number": NUMBER}, "amount": NUMBER}}
    refused = await api.client.post("/tasks/", json=bad, headers=bearer("s"))
    assert refused.status_code == 422
    assert NUMBER not in refused.text


async def test_without_its_handler_a_payload_is_hidden(api: Api) -> None:
    made = await submitted(api, delay_seconds=600)
    api.service.registry._specs.pop("payment")
    path = f"/tasks/{made.json()['task_id']}"
    task = (await api.client.get(path, headers=bearer("r"))).json()
    assert (task["payload"], task["hidden"]) == (MARK, [""])
    assert (await api.client.get(path, headers=bearer("a"))).json()["payload"] == PAYLOAD


def test_a_queue_of_the_test_kit_shows_what_an_operator_sees() -> None:
    with Queue([payment]) as queue:
        task = queue.submit("payment", PAYLOAD)
        queue.run_due()
        document = task.document
    assert document["payload"] == {**PAYLOAD, "token": MARK}
    assert json.dumps(document).count(CODE) == 0
