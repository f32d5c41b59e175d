"""The HTTP client, on answers that the test writes."""

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from raytasks.client import ApiError, AsyncClient, Client, ServiceUnavailable, WaitTimeout, api
from raytasks.client.requests import task_path
from raytasks.outbox.nudges import Nudger
from tests.client_wire import HTML, REFUSED, Answer, Wire, ok, problem


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Note how long the client would pause, and do not pause."""
    noted: list[float] = []
    monkeypatch.setattr(time, "sleep", noted.append)
    return noted


@pytest.mark.parametrize(
    "trouble",
    [
        REFUSED,
        httpx.RemoteProtocolError("gone"),
        httpx.Response(500, text="Internal Server Error"),
        httpx.Response(502),
        httpx.Response(504),
        HTML,
        problem(503, detail="the database is away"),
    ],
    ids=str,
)
def test_reading_rides_out_trouble_that_passes(trouble: Answer, pauses: list[float]) -> None:
    wire = Wire(trouble, trouble, ok(tasks=[]))
    assert wire.do(lambda client: client.list()) == {"tasks": []}
    assert len(wire.requests) == 3
    assert pauses == list(api.RETRY_DELAYS[:2])


def test_a_submission_is_tried_again_with_its_key(pauses: list[float]) -> None:
    wire = Wire(REFUSED, problem(503, detail="away"), ok(task_id="id"), ok())
    assert dict(wire.client.submit("noop", {})) == {"task_id": "id", "duplicate": False}
    keys = [request.headers["Idempotency-Key"] for request in wire.requests]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    wire.client.submit("noop", {}, idempotency_key="mine")
    assert wire.requests[-1].headers["Idempotency-Key"] == "mine"


@pytest.mark.parametrize("call", ["retry", "cancel"])
def test_what_changes_something_is_sent_once(call: str) -> None:
    wire = Wire(REFUSED, ok())
    calls: dict[str, Callable[[], Any]] = {
        "retry": lambda: wire.client.retry("id"),
        "cancel": lambda: wire.client.cancel("id"),
    }
    with pytest.raises(ServiceUnavailable, match="no raytasks service answers at http://host:1;"):
        calls[call]()
    assert len(wire.requests) == 1


@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
def test_the_answer_of_the_api_itself_stands(status: int) -> None:
    wire = Wire(problem(status, detail="that is so"))
    with pytest.raises(ApiError, match="that is so") as caught:
        wire.client.list()
    assert caught.value.status == status
    assert caught.value.problem["detail"] == "that is so"
    assert len(wire.requests) == 1


def test_trouble_that_stays_is_told_at_last() -> None:
    wire = Wire(problem(503, title="Service Unavailable", detail="the database is away"))
    with pytest.raises(ApiError) as caught:
        wire.client.list()
    assert str(caught.value) == "Service Unavailable: the database is away"
    assert len(wire.requests) == 1 + len(api.RETRY_DELAYS)
    wire = Wire(httpx.Response(502))
    with pytest.raises(ApiError) as caught:
        wire.client.list()
    assert caught.value.status == 502
    with pytest.raises(ServiceUnavailable, match="start one with 'raytasks up'"):
        Wire(REFUSED).client.list()


def test_an_answer_that_takes_too_long_is_not_asked_for_again() -> None:
    wire = Wire(httpx.ReadTimeout("slow"))
    with pytest.raises(ServiceUnavailable, match="did not answer in time"):
        wire.client.list()
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<h1>It works!</h1>"),
        httpx.Response(200, json=[1]),
        httpx.Response(200, content=b"{", headers={"content-type": "application/json"}),
        httpx.Response(301, headers={"location": "https://elsewhere.test"}),
        httpx.Response(403, text="Forbidden"),
        HTML,
    ],
    ids=str,
)
def test_another_kind_of_server_is_told_apart(answer: httpx.Response) -> None:
    with pytest.raises(ServiceUnavailable, match="is not a raytasks service"):
        Wire(answer).client.list()


def test_the_text_of_an_error_names_each_field() -> None:
    errors = [
        {"pointer": "/payload/text", "message": "Field required"},
        {"pointer": "", "message": "give one, not both"},
    ]
    error = ApiError(422, {"title": "Unprocessable", "detail": "no", "errors": errors})
    assert str(error).splitlines() == [
        "Unprocessable: no",
        "  /payload/text: Field required",
        "  the request: give one, not both",
    ]
    assert str(ApiError(500, {})) == "500"


def test_what_is_none_is_left_out() -> None:
    wire = Wire(ok())
    wire.client.submit("noop", {"a": None}, priority=3, run_at=None)
    assert wire.requests[0].method == "POST"
    assert wire.requests[0].content == b'{"task_type":"noop","payload":{"a":null},"priority":3}'
    wire.client.list(limit=3, state=None, task_type="noop")
    assert str(wire.requests[1].url) == "http://host:1/tasks/?limit=3&task_type=noop"


def test_big_numbers_pass_unchanged() -> None:
    wire = Wire(
        httpx.Response(
            202, content=b'{"payload":%d}' % 2**300, headers={"content-type": "application/json"}
        )
    )
    assert dict(wire.client.submit("noop", 2**300)) == {"payload": 2**300, "duplicate": False}
    assert str(2**300).encode() in wire.requests[0].content


def test_an_id_cannot_lead_to_another_path() -> None:
    assert task_path("../health?x#y/ä b") == "/tasks/..%2Fhealth%3Fx%23y%2F%C3%A4%20b"
    with pytest.raises(ValueError, match="empty"):
        task_path("")


def test_health_that_is_degraded_is_an_answer() -> None:
    wire = Wire(httpx.Response(503, json={"status": "degraded"}))
    assert wire.client.health() == {"status": "degraded"}
    assert len(wire.requests) == 1


@pytest.mark.parametrize(
    "url",
    [
        "", "host", "ftp://host", "http://", "http://host:x", "http://host:0", "http://host:65536",
        "http://host:-1", "http://a..b", "http://.a", f"http://{'a' * 64}.x", "http://xn--a", None,
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [Client, AsyncClient, Nudger])
def test_a_bad_url_is_refused(kind: Callable[[Any], Any], url: Any) -> None:
    with pytest.raises(ValueError, match="is not the URL of a service"):
        kind(url)


@pytest.mark.parametrize(
    "url",
    ["http://[::1]:8000", "https://a.example:65535/", "http://m\u00fcller.example", "http://a."],
)
def test_any_other_is_tried(url: str) -> None:
    assert Client(url).url == url.rstrip("/")


class TestWait:
    """`Client.wait`."""

    def test_it_asks_until_the_task_has_ended(self) -> None:
        wire = Wire(ok(state="PENDING"), ok(state="RUNNING"), ok(state="FAILED"))
        assert dict(wire.client.wait("id")) == {"state": "FAILED"}
        assert [request.url.params["wait"] for request in wire.requests] == ["60.0"] * 3

    def test_it_asks_for_no_longer_than_it_may_wait(self) -> None:
        wire = Wire(ok(state="COMPLETED"))
        wire.client.wait("id", timeout_seconds=5)
        assert 4 < float(wire.requests[0].url.params["wait"]) <= 5

    def test_it_gives_up_when_the_time_is_up(self) -> None:
        wire = Wire(ok(task_id="id", state="RUNNING"))
        with pytest.raises(WaitTimeout, match="task id is still RUNNING after 0 seconds") as caught:
            wire.client.wait("id", timeout_seconds=0)
        assert caught.value.document["state"] == "RUNNING"
        assert "wait" not in wire.requests[0].url.params


def test_it_closes() -> None:
    with Wire(ok()).client as client:
        client.task_types()
    with pytest.raises(RuntimeError, match="closed"):
        client.task_types()
