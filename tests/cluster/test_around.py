"""Middleware, contexts, files of other tasks and `on_failure`, in each kind of runner."""

import pytest

from tests.cluster.conftest import Service

KINDS = ("look_serial", "look_remote", "look_loop", "look_thread")


@pytest.mark.parametrize("kind", KINDS)
def test_a_handler_sees_its_surroundings(concurrent_service: Service, kind: str) -> None:
    service = concurrent_service
    first = service.run("look_serial", {}, tags=["first"])
    assert first["result"] == ["around look_serial", "first", "default", "0", "look_serial"]
    task = service.run(kind, {"other": first["task_id"]}, tags=["second"], priority=3)
    assert task["result"] == [f"around {kind}", "second", "default", "3", "look_serial"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_of_another_namespace_is_not_found(concurrent_service: Service, kind: str) -> None:
    service = concurrent_service
    first = service.run("look_serial", {}, tags=["first"])
    params = {"namespace": "others"}
    body = {
        "task_type": kind,
        "payload": {"other": first["task_id"]},
        "tags": ["second"],
        "max_attempts": 1,
    }
    answer = service.http.post("/tasks/", json=body, params=params)
    assert answer.status_code == 202, answer.text
    place = f"/tasks/{answer.json()['task_id']}"
    task = service.http.get(place, params={**params, "wait": 60}).json()
    assert task["state"] == "FAILED"
    assert task["error"]["type"] == "TaskNotFound"
    assert task["error"]["message"].startswith("the namespace others has no task")


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_is_told_to_on_failure(concurrent_service: Service, kind: str) -> None:
    task = concurrent_service.run(kind, {"fails": True}, tags=["third"])
    assert task["state"] == "FAILED"
    place = f"/artifacts/{task['task_id']}/failure.txt"
    assert concurrent_service.http.get(place).text == "no luck of third"


def test_a_timeout_of_a_remote_task_is_told_as_one(concurrent_service: Service) -> None:
    service = concurrent_service
    task = service.run(
        "look_remote", {"waits": True}, timeout_seconds=0.5, max_attempts=1, tags=["t"]
    )
    assert task["state"] == "FAILED"
    answer = service.http.get(f"/artifacts/{task['task_id']}/failure.txt")
    assert answer.text == "took longer than its timeout of 0.5 seconds of t"


def test_a_cancel_of_a_remote_task_is_no_failure(concurrent_service: Service) -> None:
    service = concurrent_service
    task = service.submit("look_remote", {"waits": True}, max_attempts=1, tags=["t"])
    service.wait_until(task, "RUNNING")
    place = f"/tasks/{task['task_id']}"
    assert service.http.post(f"{place}/cancel").status_code == 202
    assert service.wait(task)["state"] == "CANCELLED"
    answer = service.http.get(f"/artifacts/{task['task_id']}/failure.txt")
    assert answer.status_code == 404
