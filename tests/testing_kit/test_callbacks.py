"""Callbacks in the queue of a test: run like other tasks, and verified by the reference library."""

import base64
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

import raytasks
from raytasks import Context, handler
from raytasks.client import Client
from raytasks.model.errors import InvalidSubmission
from raytasks.model.states import OutcomeKind
from raytasks.testing import Queue

OLD = "whsec_" + base64.b64encode(b"o" * 24).decode()
NEW = "whsec_" + base64.b64encode(b"n" * 64).decode()
URL = "https://receiver.example/hook?token=geheim"


@handler("work", retry=raytasks.RetryPolicy(max_attempts=1))
def work(payload: dict[str, Any], context: Context) -> str:
    if payload.get("fails"):
        raise ValueError("it went wrong")
    return "result"


class Receiver:
    """A receiver that answers as it is told, and keeps what it gets."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.got: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.got.append(request)
        return self.answers.pop(0) if self.answers else httpx.Response(204)


def queue_of(receiver: Callable[[httpx.Request], httpx.Response], **settings: Any) -> Queue:
    secrets = settings.pop("callback_secrets", f"default={NEW} {OLD}")
    return Queue([work], callback_receiver=receiver, callback_secrets=secrets, **settings)


def verified(request: httpx.Request, secret: str) -> Any:
    """Return the body of a callback. The reference library raises if its signature is wrong."""
    return Webhook(secret).verify(request.content, dict(request.headers))


def test_a_callback_is_verified_by_the_reference_library_with_both_secrets() -> None:
    receiver = Receiver()
    with queue_of(receiver) as queue:
        task = queue.submit("work", {}, callback_url=URL, tags=["a"])
        queue.run_until_idle()
        [request] = receiver.got
        document = task.document
        callback = queue.get(document["callback_task_id"])
    body = verified(request, NEW)
    assert verified(request, OLD) == body
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == callback["task_id"]
    assert body["type"] == "task.completed"
    assert (body["data"]["task_id"], body["data"]["tags"]) == (task.task_id, ["a"])
    assert (callback["state"], callback["result"]) == ("COMPLETED", {"status": 204})
    assert callback["payload"]["task_id"] == task.task_id
    forged = httpx.Request("POST", URL, content=b"{}", headers=dict(request.headers))
    with pytest.raises(Exception, match="No matching signature"):
        verified(forged, NEW)


def test_a_receiver_that_fails_is_tried_again_with_the_same_id() -> None:
    receiver = Receiver(*[httpx.Response(500, text="broken") for _ in range(3)])
    with queue_of(receiver) as queue:
        task = queue.submit("work", {"fails": True}, callback_url=URL)
        queue.run_until_idle()
        document = queue.get(task.document["callback_task_id"])
        begun = [run.started_at for run in queue.runs if run.task_type == "raytasks.callback"]
    bodies = [verified(request, NEW) for request in receiver.got]
    assert len(bodies) == 4
    assert bodies == [bodies[0]] * 4
    assert len({request.headers["webhook-id"] for request in receiver.got}) == 1
    assert bodies[0]["data"]["error"] == {"type": "ValueError", "message": "it went wrong"}
    waits = [later - earlier for earlier, later in pairwise(begun)]
    assert waits == pytest.approx([5.0, 300.0, 1800.0])
    first = document["attempts"][0]["error"]
    assert first["type"] == "CallbackError"
    assert first["message"] == (
        "https://receiver.example/hook?…: the receiver answered 500: broken"
    )
    assert "geheim" not in json.dumps(document["attempts"])


def test_a_receiver_that_never_answers_well_has_the_whole_table() -> None:
    receiver = Receiver(*[httpx.Response(400) for _ in range(20)])
    with queue_of(receiver) as queue:
        begin = queue.clock()
        task = queue.submit("work", {}, callback_url=URL)
        queue.run_until_idle()
        document = queue.get(task.document["callback_task_id"])
        hours = (queue.clock() - begin) / 3600
        assert queue.http.get("/tasks/").json()["total"] == 1
        asked = {"task_type": "raytasks.callback"}
        assert queue.http.get("/tasks/", params=asked).json()["total"] == 1
        assert "raytasks.callback" not in queue.http.get("/stats").text
        assert 'task_type="raytasks.callback"' in queue.http.get("/metrics").text
        assert queue.http.get("/errors").json()["groups"] == []
        [group] = queue.http.get("/errors", params=asked).json()["groups"]
        assert (group["error_type"], group["count"]) == ("CallbackError", 1)
        again = queue.http.post(f"/tasks/{document['task_id']}/retry")
        assert again.status_code == 202
        receiver.answers.clear()
        queue.run_until_idle()
        assert queue.get(document["task_id"])["state"] == "COMPLETED"
    assert (document["state"], document["attempt"]) == ("FAILED", 10)
    assert len({request.headers["webhook-id"] for request in receiver.got}) == 1
    assert hours == pytest.approx(75.6, abs=0.1)


@pytest.mark.parametrize(
    ("answer", "kind", "wait"),
    [
        (httpx.Response(410), "PermanentError", None),
        (httpx.Response(302, headers={"location": "http://other"}), "CallbackError", 5),
        (httpx.Response(301), "CallbackError", 5),
        (httpx.Response(404), "CallbackError", 5),
        (httpx.Response(429, headers={"retry-after": "77"}), "RetryAfter", 77),
        (httpx.Response(503, headers={"retry-after": "1"}), "RetryAfter", 5),
        (httpx.Response(503), "CallbackError", 5),
        (httpx.Response(500, headers={"retry-after": "77"}), "CallbackError", 5),
    ],
)
def test_what_is_no_success(answer: httpx.Response, kind: str, wait: float | None) -> None:
    with queue_of(Receiver(answer)) as queue:
        queue.submit("work", {}, callback_url=URL)
        [_, run] = queue.run_due()
        assert run.error is not None
        assert run.error.type.rpartition(".")[2] == kind
        assert run.outcome is OutcomeKind.FAILED
        if wait is None:
            assert run.delay_seconds is None
        else:
            assert run.delay_seconds == pytest.approx(wait, rel=0.11)


def test_no_secret_any_more() -> None:
    """Secrets may have been taken away since the submission."""
    receiver = Receiver()
    with queue_of(receiver) as queue:
        service = queue._service
        queue.submit("work", {}, callback_url=URL)
        service.settings.callback_secrets.clear()  # type: ignore[attr-defined]
        [_, run] = queue.run_due()
    assert receiver.got == []
    assert run.error is not None
    assert "'default' has no secret to sign with" in run.error.message


def test_without_a_receiver_nothing_is_posted() -> None:
    with Queue([work], callback_secrets=f"default={NEW}") as queue:
        queue.submit("work", {}, callback_url=URL)
        [_, run] = queue.run_due()
    assert run.error is not None
    assert "give it a callback_receiver" in run.error.message


def test_submissions_that_are_refused() -> None:
    receiver = Receiver()
    with queue_of(receiver, callback_secrets="") as queue:
        with pytest.raises(InvalidSubmission) as caught:
            queue.submit("work", {}, callback_url=URL)
        [error] = caught.value.errors
        assert error.pointer == "/callback_url"
        assert "add default=whsec_… to RAYTASKS_CALLBACK_SECRETS" in error.message
        with pytest.raises(InvalidSubmission, match="cannot be submitted") as caught:
            queue.submit("raytasks.callback", {})
        assert caught.value.errors[0].pointer == "/task_type"
        task = {"task_type": "work", "payload": {}}
        batch = {"tasks": [task, {**task, "callback_url": URL}]}
        refused = queue.http.post("/tasks/batch", json=batch)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == "/tasks/1/callback_url"
        assert queue.http.get("/tasks/").json()["total"] == 0


def test_the_driver_submits_with_a_callback() -> None:
    receiver = Receiver()
    with queue_of(receiver) as queue:
        raytasks.submit(work, {}, callback_url=URL)
        raytasks.submit_many([{"task_type": "work", "payload": {}, "callback_url": URL}])
        queue.run_until_idle()
    assert len({request.headers["webhook-id"] for request in receiver.got}) == 2


def test_a_cancelled_task_calls_back() -> None:
    receiver = Receiver()
    with queue_of(receiver) as queue:
        task = queue.submit("work", {}, callback_url=URL, delay_seconds=60)
        queue.http.post(f"/tasks/{task.task_id}/cancel")
        queue.run_until_idle()
    [request] = receiver.got
    assert verified(request, NEW)["type"] == "task.cancelled"


def test_none_is_lost_when_the_backlog_is_full() -> None:
    receiver = Receiver(*[httpx.Response(500) for _ in range(3)])
    with queue_of(receiver, max_backlog=3) as queue:
        for _ in range(3):
            queue.submit("work", {}, callback_url=URL)
        queue.run_due()
        with pytest.raises(raytasks.BacklogFull):
            queue.submit("work", {})
        queue.run_until_idle()
    assert len({request.headers["webhook-id"] for request in receiver.got}) == 3


def test_callbacks_can_be_paused() -> None:
    receiver = Receiver()
    with queue_of(receiver) as queue, Client(transport=queue.transport) as client:
        client.pause("raytasks.callback")
        queue.submit("work", {}, callback_url=URL)
        queue.run_due()
        assert receiver.got == []
        client.resume("raytasks.callback")
        queue.run_until_idle()
        assert len(receiver.got) == 1
