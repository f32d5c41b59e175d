"""Submit, get, retry, cancel."""

from typing import Any

from conftest import Api


async def test_a_task_goes_in_and_comes_out_done(api: Api) -> None:
    response = await api.client.post(
        "/tasks/", json={"task_type": "scripted", "payload": {"value": 7}}
    )
    assert response.status_code == 202
    task: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/tasks/{task['task_id']}"
    assert task["state"] == "PENDING"
    ended = await api.finished(task)
    assert ended["state"] == "COMPLETED"
    assert ended["result"]["value"] == 7
