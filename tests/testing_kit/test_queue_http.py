"""The API of a test's queue: what a test of an HTTP caller uses."""

import time
from typing import Any

import httpx
import pytest

from raytasks.client import (
    Client,
    EndEvent,
    GapEvent,
    LogEvent,
    ServiceLogEvent,
    StateEvent,
    WaitTimeout,
)
from raytasks.testing import Queue
from raytasks.testing.clock import START
from raytasks.testing.runner import PATIENCE
from tests.keyring import API_KEYS, bearer


def test_a_task_over_http_runs_as_any_other(queue: Queue) -> None:
    answer = queue.http.post("/tasks/", json={"task_type": "greet", "payload": {"name": "Ray"}})
    assert answer.status_code == 202
    task = answer.json()
    assert task["created_at"] == "2026-01-01T00:00:00Z"
    queue.run_until_idle()
    assert queue.task(task["task_id"]).state == "COMPLETED"
    assert queue.http.get(f"/tasks/{task['task_id']}").json() == queue.get(task["task_id"])
    assert queue.http.get(queue.get(task["task_id"])["result"]["file"]).content == b"Ray"


def test_large_values_are_whole_everywhere() -> None:
    with Queue(["tests.testing_kit.kit_handlers"], offload_bytes=100) as queue:
        task = queue.submit("coroutine", "x" * 1000)
        [run] = queue.run_due()
        assert run.result == task.result == task.document["payload"] == "x" * 1000
        assert task.document["offloaded"] == {"payload": 1002, "result": 1002}
        assert queue.http.get(f"/tasks/{task.task_id}").json() == task.document
        listed = queue.http.get("/tasks/").json()["tasks"]
        assert listed[0]["payload"] is None


def test_a_bulk_operation_is_done_at_once(queue: Queue) -> None:
    batch = [{"task_type": "coroutine", "payload": n} for n in range(1000)]  # more than one step
    assert queue.http.post("/tasks/batch", json={"tasks": batch}).status_code == 202
    asked = queue.http.post("/bulk", json={"action": "cancel", "state": "PENDING"})
    assert asked.status_code == 202
    assert queue.run_due() == []
    done = queue.http.get(asked.headers["location"]).json()
    assert (done["state"], done["changed"]) == ("DONE", 1000)
    assert done["created_at"] == done["finished_at"] == "2026-01-01T00:00:00Z"


def test_statistics_go_by_the_clock(queue: Queue) -> None:
    queue.submit("busy", {"retry_after": 30})
    queue.run_until_idle()
    hour = queue.http.get("/stats").json()["windows"]["hour"]
    assert (hour["completed"], hour["failed"]) == (1, 0)
    queue.clock.advance(7200)
    assert queue.http.get("/stats").json()["windows"]["hour"]["completed"] == 0


def test_metrics_are_those_of_the_queue(queue: Queue) -> None:
    queue.submit("coroutine", 4)
    queue.run_due()
    of = '{namespace="default",state="COMPLETED",task_type="coroutine"}'
    assert f"raytasks_tasks_finished_total{of} 1.0" in queue.http.get("/metrics").text


def test_links_expire_by_the_clock() -> None:
    with Queue(["tests.testing_kit.kit_handlers"], artifact_link_seconds=60) as queue:
        task = queue.submit("greet", {"name": "Ray"})
        queue.run_due()
        [file] = queue.http.get(f"/tasks/{task.task_id}/artifacts").json()["artifacts"]
        assert f"expires={START + 60:.0f}&" in file["url"]
        assert queue.http.get(file["url"]).content == b"Ray"


def test_keys_are_settings() -> None:
    settings: dict[str, Any] = {"secret_key": "a secret of the test", "api_keys": API_KEYS}
    with Queue(["tests.testing_kit.kit_handlers"], **settings) as queue:
        assert queue.http.get("/tasks/").status_code == 401
        assert queue.http.get("/tasks/", headers=bearer("r")).status_code == 200


def test_problems_are_answers(queue: Queue) -> None:
    answer = queue.http.post("/tasks/", json={"task_type": "greet", "payload": {}})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["pointer"] == "/payload/name"
    unknown = "/tasks/0198c1de-0000-7000-8000-000000000000"
    for path in (unknown, f"{unknown}?wait=5"):
        assert queue.http.get(path).status_code == 404


def test_a_key_makes_one_task(queue: Queue) -> None:
    body = {"task_type": "greet", "payload": {"name": "Ray"}}
    first, again = (
        queue.http.post("/tasks/", json=body, headers={"Idempotency-Key": "a"}) for _ in range(2)
    )
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["task_id"] == again.json()["task_id"]


class TestWaiting:
    """A wait takes its time on the clock, and none besides."""

    def submit(self, queue: Queue, **request: Any) -> str:
        body = {"task_type": "coroutine", "payload": 1, **request}
        task_id: str = queue.http.post("/tasks/", json=body).json()["task_id"]
        return task_id

    def test_the_task_runs_meanwhile(self, queue: Queue) -> None:
        task_id = self.submit(queue, delay_seconds=20)
        answer = queue.http.get(f"/tasks/{task_id}", params={"wait": 30})
        assert answer.json()["state"] == "COMPLETED"
        assert queue.clock() == START + 20

    def test_the_wait_may_be_too_short(self, queue: Queue) -> None:
        task_id, began = self.submit(queue, delay_seconds=20), time.monotonic()
        answer = queue.http.get(f"/tasks/{task_id}", params={"wait": 15})
        assert answer.json()["state"] == "PENDING"
        assert queue.clock() == START + 15
        assert time.monotonic() - began < 10

    @pytest.mark.parametrize("wait", ["-1", "x", "61", "nan"])
    def test_a_bad_one_is_refused(self, queue: Queue, wait: str) -> None:
        task_id = self.submit(queue)
        assert queue.http.get(f"/tasks/{task_id}?wait={wait}").status_code == 422
        assert queue.runs == []

    def test_the_client_of_raytasks(self, queue: Queue) -> None:
        with Client(queue.url, transport=queue.transport) as client:
            task = client.submit("coroutine", 1, delay_seconds=100)
            assert client.wait(task["task_id"])["state"] == "COMPLETED"
            late = client.submit("coroutine", 1, delay_seconds=3600)
            with pytest.raises(WaitTimeout):
                client.wait(late["task_id"], timeout_seconds=0.01)

    def test_events_come_up_to_the_end(self, queue: Queue) -> None:
        task_id = self.submit(queue, task_type="greet", payload={"name": "Ray"}, delay_seconds=9)
        with Client(queue.url, transport=queue.transport) as client:
            events = list(client.events(task_id))
        logged = [event.data["message"] for event in events if isinstance(event, LogEvent)]
        states = [event.data["state"] for event in events if isinstance(event, StateEvent)]
        assert logged == ["greeting Ray", "done"]
        assert states == ["PENDING", "RUNNING", "COMPLETED"]
        assert isinstance(events[-1], EndEvent)
        assert queue.clock() == START + 9

    def test_a_stream_without_an_end_is_a_timeout(self, queue: Queue) -> None:
        with pytest.raises(httpx.ReadTimeout):
            queue.http.get("/tasks/events", timeout=0.05)

    async def test_an_async_client(self, queue: Queue) -> None:
        there: Any = {"transport": queue.transport, "base_url": queue.url, "timeout": PATIENCE}
        async with httpx.AsyncClient(**there) as client:
            body = {"task_type": "coroutine", "payload": 1}
            task = (await client.post("/tasks/", json=body)).json()
            ended = await client.get(f"/tasks/{task['task_id']}", params={"wait": 10})
            assert ended.json()["result"] == 1


def test_an_answer_that_takes_too_long_is_a_timeout(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: Any) -> None:
        await queue._service.tracker.changes(1, 0, 100)

    monkeypatch.setattr(queue._service, "__dict__", {**vars(queue._service), "app": hang})
    with pytest.raises(httpx.ReadTimeout):
        queue.http.get("/health", timeout=0.05)


def test_its_client_has_the_patience_of_the_kit(queue: Queue) -> None:
    """On a loaded machine, an answer can take longer than the five seconds of httpx."""
    assert queue.http.timeout == httpx.Timeout(PATIENCE) != httpx.Client().timeout


def test_the_log_is_that_of_the_queue(queue: Queue) -> None:
    task = queue.submit("greet", {"name": "Ray"})
    queue.run_until_idle()
    with Client(transport=queue.transport) as client:
        found = [event for event in client.logs(task_type="greet") if event != GapEvent()]
    [ended] = [event.data for event in found if isinstance(event, ServiceLogEvent)][-1:]
    assert ended["message"] == "attempt 1 of greet succeeded"
    assert ended["fields"]["task_id"] == task.task_id
    assert ended["at"].startswith("2026-01-01T00:00:0")


def test_a_waiting_task_says_why(queue: Queue) -> None:
    later = queue.submit("coroutine", 1, delay_seconds=60)
    [reason] = queue.get(later.task_id)["waiting_for"]
    assert (reason["code"], reason["until"]) == ("not_due", "2026-01-01T00:01:00Z")
    now = queue.submit("coroutine", 2)
    reasons = queue.get(now.task_id)["waiting_for"]
    assert [item["code"] for item in reasons] in ([], ["behind_others"])
    queue.run_until_idle()
    assert queue.get(later.task_id)["waiting_for"] is None


def test_what_the_service_consists_of(queue: Queue) -> None:
    assert queue.http.get("/livez").json() == {"status": "ok"}
    assert queue.http.get("/readyz").json() == {"status": "ok", "reasons": []}
    assert queue.http.get("/health").json()["status"] == "ok"
    with Client(queue.url, transport=queue.transport) as client:
        pools = {pool["name"]: pool for pool in client.pools()}
        [runner] = client.runners()
        assert (client.nodes(), client.versions()) == ([], [])
        assert client.cluster() == {"nodes": [], "nodes_coming": {}}
    assert "coroutine" in pools["shared"]["task_types"]
    assert (runner["pool"], runner["state"]) == ("shared", "idle")
