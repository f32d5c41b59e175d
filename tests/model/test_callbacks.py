"""The rules of callbacks: their ids, and the body that they send."""

import uuid

import pytest
from msgspec import json

from raytasks.model.callbacks import (
    CALLBACK_TYPE,
    MAX_TEXT,
    MAX_TRIES,
    callback_id,
    callback_id_of,
    callback_of,
)
from raytasks.model.states import State
from raytasks.model.tasks import Task
from tests.making import NOW, task_id

URL = "https://example.com/hook?token=t"
BOUND = 20_000


def ended(**changes: object) -> Task:
    """Return a task that has ended."""
    values: dict[str, object] = {
        "task_id": task_id(1),
        "task_type": "short",
        "state": State.COMPLETED,
        "payload": '{"secret":"payload"}',
        "result": '"secret result"',
        "error": None,
        "priority": 0,
        "attempt": 2,
        "max_attempts": 3,
        "failures": 0,
        "crashes": 0,
        "cancel_requested": False,
        "timeout_seconds": None,
        "progress_fraction": None,
        "progress_message": None,
        "created_at": NOW,
        "run_at": NOW,
        "started_at": NOW,
        "finished_at": NOW + 1.5,
        "updated_at": NOW + 1.5,
        "namespace": "acme",
        "tags": '["a","b"]',
        "revision": 4,
        "callback_url": URL,
    }
    return Task(**values | changes)  # type: ignore[arg-type]


def test_the_id_follows_from_the_end_of_the_task() -> None:
    found = callback_id(task_id(1), 4, NOW)
    assert found == callback_id(task_id(1), 4, NOW)
    assert (uuid.UUID(found).version, uuid.UUID(found).variant) == (7, uuid.RFC_4122)
    others = {callback_id(task_id(2), 4, NOW), callback_id(task_id(1), 6, NOW)}
    assert len(others | {found}) == 3


def test_ids_are_in_the_order_of_the_ends() -> None:
    ends = [callback_id(task_id(number), 2, NOW + number / 1000) for number in range(100)]
    assert ends == sorted(ends)
    assert ends[0][:13] == f"{int(NOW * 1000):012x}"[:8] + "-" + f"{int(NOW * 1000):012x}"[8:]


@pytest.mark.parametrize(
    "changes",
    [{"callback_url": None}, {"state": State.RUNNING, "finished_at": None}],
)
def test_what_has_no_callback(changes: dict[str, object]) -> None:
    assert callback_id_of(ended(**changes)) is None


def test_a_callback_is_a_task_of_its_own() -> None:
    parent = ended()
    made = callback_of(parent)
    assert (made.task_id, made.task_type) == (callback_id_of(parent), CALLBACK_TYPE)
    assert (made.namespace, made.max_attempts) == ("acme", MAX_TRIES)
    assert (made.run_at, made.created_at) == (parent.finished_at, parent.finished_at)
    assert made.callback_url is None
    assert made.lane
    assert json.decode(made.payload) == {
        "url": URL,
        "task_id": parent.task_id,
        "event": {
            "type": "task.completed",
            "timestamp": "1970-01-12T13:46:41.500000Z",
            "data": {
                "task_id": parent.task_id,
                "task_type": "short",
                "namespace": "acme",
                "state": "COMPLETED",
                "revision": 4,
                "attempt": 2,
                "tags": ["a", "b"],
                "created_at": "1970-01-12T13:46:40Z",
                "started_at": "1970-01-12T13:46:40Z",
                "finished_at": "1970-01-12T13:46:41.500000Z",
                "error": None,
                "cancel_reason": None,
            },
        },
    }


def test_errors_are_sent_without_their_traceback_and_cut() -> None:
    error = {"type": "ValueError", "message": "\x00" * 5000, "traceback": "secret"}
    text = json.encode(error).decode()
    made = callback_of(ended(state=State.FAILED, error=text))
    data = json.decode(made.payload)["event"]["data"]
    assert data["error"] == {"type": "ValueError", "message": "\x00" * MAX_TEXT}
    assert "secret" not in made.payload
    assert len(made.payload) < BOUND


def test_why_a_task_was_cancelled() -> None:
    reason = '{"code":"requested","message":null,"by":"ann"}'
    event = json.decode(callback_of(ended(state=State.CANCELLED, cancel_reason=reason)).payload)[
        "event"
    ]
    assert event["type"] == "task.cancelled"
    assert event["data"]["cancel_reason"] == {"code": "requested", "message": None}
    completed = callback_of(ended(cancel_reason=reason))
    assert json.decode(completed.payload)["event"]["data"]["cancel_reason"] is None
