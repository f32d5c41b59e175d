"""Submit, get, retry and cancel a task."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.local_service import Api

FIELDS = {
    "task_id", "task_type", "state", "payload", "result", "error", "priority", "attempt",
    "max_attempts", "crashes", "snoozes",
    "timeout_seconds", "cancel_requested", "progress", "created_at",
    "run_at", "claimed_at", "started_at", "finished_at", "updated_at", "namespace", "tags",
    "revision", "offloaded", "hidden", "trace_id", "cancel_reason", "limit_values",
    "unique", "expires_at", "callback_url", "schedule", "scheduled_for",
}  # fmt: skip

HARD_VALUES = [
    2**200,
    -(2**63),
    2**53 + 1,
    0.1,
    1e-300,
    "naïve 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 \u202e \u2028 “”",
    '\x01 \t \n " \\ / </script>',
    {"": None, "a/b~c": [[], {}, True]},
]


async def test_a_task_goes_in_and_comes_out_done(api: Api) -> None:
    response = await api.client.post(
        "/tasks/", json={"task_type": "scripted", "payload": {"value": 7}}
    )
    assert response.status_code == 202
    assert response.headers["content-type"] == "application/json"
    task: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/tasks/{task['task_id']}"
    assert task.keys() == FIELDS
    assert task["state"] == "PENDING"
    assert task["payload"] == {"value": 7}
    assert task["result"] is None
    ended = await api.finished(task)
    assert ended.keys() == FIELDS | {"attempts", "attempts_omitted", "waiting_for", "actions"}
    assert ended["state"] == "COMPLETED"
    assert ended["result"]["value"] == 7
    assert ended["attempt"] == 1
    assert ended["error"] is None
    assert ended["created_at"] <= ended["started_at"] <= ended["finished_at"]
    (attempt,) = ended["attempts"]
    assert attempt["outcome"] == "succeeded"
    assert attempt["node_id"] == "node"
    assert attempt["worker_id"] == "worker"
    assert attempt["error"] is None


async def test_the_answer_to_a_submission_is_what_is_stored(idle_api: Api) -> None:
    task = await idle_api.submit(priority=5, max_attempts=7, timeout_seconds=2)
    found = (await idle_api.client.get(f"/tasks/{task['task_id']}")).json()
    assert found.pop("attempts") == []
    assert [reason["code"] for reason in found.pop("waiting_for")] == ["no_runner"]
    assert found.pop("attempts_omitted") == 0
    assert found.pop("actions") == []
    assert found == task
    assert (task["priority"], task["max_attempts"], task["timeout_seconds"]) == (5, 7, 2.0)


@pytest.mark.parametrize("value", HARD_VALUES, ids=ascii)
async def test_every_json_value_comes_back_as_it_went_in(api: Api, value: Any) -> None:
    ended = await api.finished(await api.submit(payload={"value": value}))
    assert ended["payload"] == {"value": value}
    assert ended["result"]["value"] == value


async def test_a_task_that_fails_at_first_shows_its_history(api: Api) -> None:
    ended = await api.finished(await api.submit(payload={"fail_first": 2}))
    assert ended["state"] == "COMPLETED"
    assert ended["attempt"] == 3
    assert ended["error"] is None
    assert [item["outcome"] for item in ended["attempts"]] == ["failed", "failed", "succeeded"]
    error = ended["attempts"][0]["error"]
    assert error["type"] == "RuntimeError"
    assert error["message"] == "scripted failure 1"
    assert error["retryable"] is True
    assert "scripted.py" in error["traceback"]


async def test_a_task_that_fails_for_good_shows_its_error(api: Api) -> None:
    ended = await api.finished(await api.submit(payload={"step": "permanent"}))
    assert ended["state"] == "FAILED"
    assert ended["error"]["type"] == "PermanentError"
    assert ended["error"]["retryable"] is False
    assert ended["result"] is None


async def test_a_running_task_shows_the_attempt_that_runs(api: Api) -> None:
    task = await api.submit(payload={"step": "wait_cancelled"})
    await api.begun(task)
    running = (await api.client.get(f"/tasks/{task['task_id']}")).json()
    (attempt,) = running["attempts"]
    assert attempt["attempt"] == 1
    assert attempt["outcome"] is None
    assert attempt["finished_at"] is None
    assert running["finished_at"] is None
    await api.client.post(f"/tasks/{task['task_id']}/cancel")
    assert (await api.finished(task))["state"] == "CANCELLED"


async def test_progress_is_shown(api: Api) -> None:
    ended = await api.finished(await api.submit(payload={"step": "progress", "seconds": 0.7}))
    assert ended["progress"] is not None
    assert 0 < ended["progress"]["fraction"] <= 1
    assert ended["progress"]["message"].startswith("step ")


@pytest.mark.parametrize("task_type", ["scripted_class", "scripted_async", "noop"])
async def test_every_kind_of_handler_runs(api: Api, task_type: str) -> None:
    assert (await api.finished(await api.submit(task_type=task_type)))["state"] == "COMPLETED"


class TestWhenItRuns:
    """`delay_seconds`, `run_at` and `priority`."""

    async def test_a_delay_sets_the_due_time(self, idle_api: Api) -> None:
        task = await idle_api.submit(delay_seconds=90.5)
        due = datetime.fromisoformat(task["run_at"]) - datetime.fromisoformat(task["created_at"])
        assert due == timedelta(seconds=90.5)
        assert task["state"] == "PENDING"

    async def test_a_due_time_in_any_time_zone_is_shown_in_utc(self, idle_api: Api) -> None:
        due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
        other = due.astimezone(tz=None).isoformat()
        task = await idle_api.submit(run_at=other)
        assert task["run_at"] == due.isoformat().replace("+00:00", "Z")

    async def test_a_due_time_that_has_passed_means_now(self, api: Api) -> None:
        task = await api.submit(run_at="2001-01-01T00:00:00Z")
        assert task["run_at"] == task["created_at"]
        assert (await api.finished(task))["state"] == "COMPLETED"

    async def test_a_delayed_task_runs_at_its_time_and_not_before(self, api: Api) -> None:
        ended = await api.finished(await api.submit(delay_seconds=0.3))
        assert ended["started_at"] >= ended["run_at"]

    async def test_a_higher_priority_goes_first(self, api: Api) -> None:
        blocker = await api.submit(payload={"step": "wait_cancelled"})
        await api.begun(blocker)
        low = await api.submit(priority=-5)
        high = await api.submit(priority=5)
        await api.client.post(f"/tasks/{blocker['task_id']}/cancel")
        ended = [await api.finished(task) for task in (low, high)]
        assert ended[0]["started_at"] >= ended[1]["finished_at"]


class TestWait:
    """`GET /tasks/{task_id}?wait=`."""

    async def test_it_answers_when_the_task_has_ended(self, api: Api) -> None:
        task = await api.submit(delay_seconds=0.2)
        began = time.monotonic()
        ended = await api.client.get(f"/tasks/{task['task_id']}?wait=60")
        assert ended.json()["state"] == "COMPLETED"
        assert time.monotonic() - began < 10

    async def test_it_answers_with_the_task_as_it_is_when_the_time_is_up(
        self, idle_api: Api
    ) -> None:
        task = await idle_api.submit()
        began = time.monotonic()
        response = await idle_api.client.get(f"/tasks/{task['task_id']}?wait=0.3")
        assert time.monotonic() - began >= 0.3
        assert response.status_code == 200
        assert response.json()["state"] == "PENDING"

    async def test_it_answers_when_the_task_is_cancelled(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        waiting = asyncio.ensure_future(idle_api.client.get(f"/tasks/{task['task_id']}?wait=60"))
        await asyncio.sleep(0)
        await idle_api.client.post(f"/tasks/{task['task_id']}/cancel")
        assert (await waiting).json()["state"] == "CANCELLED"

    async def test_an_ended_task_is_answered_at_once(self, api: Api) -> None:
        task = await api.finished(await api.submit())
        began = time.monotonic()
        assert (await api.finished(task))["state"] == "COMPLETED"
        assert time.monotonic() - began < 5

    async def test_many_wait_for_one_task(self, api: Api) -> None:
        task = await api.submit(delay_seconds=0.5)
        path = f"/tasks/{task['task_id']}?wait=60"
        answers = await asyncio.gather(*(api.client.get(path) for _ in range(200)))
        assert {answer.json()["state"] for answer in answers} == {"COMPLETED"}

    async def test_an_unknown_task_is_no_reason_to_wait(self, api: Api) -> None:
        began = time.monotonic()
        path = "/tasks/0198c1de-0000-7000-8000-000000000000?wait=60"
        assert (await api.client.get(path)).status_code == 404
        assert time.monotonic() - began < 5


class TestCancelAndRetry:
    """`POST /tasks/{task_id}/cancel` and `/retry`."""

    async def test_a_waiting_task_is_cancelled_at_once_and_can_be_retried(
        self, idle_api: Api
    ) -> None:
        task = await idle_api.submit()
        cancelled = await idle_api.client.post(f"/tasks/{task['task_id']}/cancel")
        assert cancelled.status_code == 202
        assert cancelled.json()["state"] == "CANCELLED"
        assert cancelled.json()["finished_at"] is not None
        again = await idle_api.client.post(f"/tasks/{task['task_id']}/retry")
        assert again.status_code == 202
        assert again.json()["state"] == "PENDING"
        assert again.json()["finished_at"] is None

    async def test_a_running_task_is_told_to_stop(self, api: Api) -> None:
        task = await api.submit(payload={"step": "wait_cancelled"})
        await api.begun(task)
        answer = await api.client.post(f"/tasks/{task['task_id']}/cancel")
        assert answer.status_code == 202
        assert answer.json()["cancel_requested"] is True
        ended = await api.finished(task)
        assert ended["state"] == "CANCELLED"
        assert [item["outcome"] for item in ended["attempts"]] == ["cancelled"]

    async def test_a_failed_task_runs_again_and_keeps_its_history(self, api: Api) -> None:
        failed = await api.finished(await api.submit(payload={"step": "permanent"}))
        answer = await api.client.post(f"/tasks/{failed['task_id']}/retry")
        assert answer.status_code == 202
        assert answer.json()["error"] is None
        ended = await api.finished(failed)
        assert [item["attempt"] for item in ended["attempts"]] == [1, 2]

    @pytest.mark.parametrize("verb", ["cancel", "retry"])
    async def test_a_completed_task_refuses(self, api: Api, verb: str) -> None:
        task = await api.finished(await api.submit())
        response = await api.client.post(f"/tasks/{task['task_id']}/{verb}")
        assert response.status_code == 409
        assert response.headers["content-type"] == "application/problem+json"
        assert "COMPLETED" in response.json()["detail"]
        after = (await api.client.get(f"/tasks/{task['task_id']}")).json()
        assert after == task

    async def test_a_waiting_task_cannot_be_retried(self, idle_api: Api) -> None:
        task = await idle_api.submit()
        response = await idle_api.client.post(f"/tasks/{task['task_id']}/retry")
        assert response.status_code == 409
        assert "PENDING" in response.json()["detail"]


async def test_json_is_taken_in_each_way_to_write_it(idle_api: Api) -> None:
    body = {"task_type": "scripted", "payload": {"value": "ä"}}
    for content in (json.dumps(body), json.dumps(body, ensure_ascii=False, indent=3)):
        response = await idle_api.client.post(
            "/tasks/", content=content, headers={"Content-Type": "Application/JSON; charset=utf-8"}
        )
        assert response.status_code == 202
        assert response.json()["payload"] == {"value": "ä"}
