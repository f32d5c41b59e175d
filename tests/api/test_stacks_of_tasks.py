"""`GET /tasks/{task_id}/stack`: only a running attempt has one, and it must be shown."""

from typing import Any

from raytasks.model.tasks import Running
from tests.local_service import Api


async def test_a_task_that_waits_has_no_stack(idle_api: Api) -> None:
    task = await idle_api.submit()
    answer = await idle_api.client.get(f"/tasks/{task['task_id']}/stack")
    assert answer.status_code == 409
    assert "PENDING" in answer.json()["detail"]


async def test_an_unknown_task_is_not_found(idle_api: Api) -> None:
    answer = await idle_api.client.get("/tasks/nothing/stack")
    assert answer.status_code == 404


async def test_the_runner_of_an_attempt_is_asked(api: Api) -> None:
    asked: list[tuple[str, str]] = []

    async def stack_of(name: str, running: Running) -> str | None:
        asked.append((name, running.task_id))
        return "a stack" if len(asked) == 1 else None

    api.service.tracker.stack_of = stack_of
    task = await api.submit(payload={"step": "wait_cancelled"})
    await api.begun(task)
    path = f"/tasks/{task['task_id']}/stack"
    answer: Any = await api.client.get(path)
    assert answer.json() == {"task_id": task["task_id"], "attempt": 1, "stack": "a stack"}
    assert asked == [("runner", task["task_id"])]
    silent = await api.client.get(path)
    assert silent.status_code == 409
    assert "does not show its stack" in silent.json()["detail"]
    await api.client.post(f"/tasks/{task['task_id']}/cancel")
    await api.finished(task)
