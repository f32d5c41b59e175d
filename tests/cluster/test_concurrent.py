"""A thousand attempts in one runner: what they take, and what one costs that kills its process."""

import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.cluster.conftest import Service
from tests.cluster.recovery import TIMES

MANY = 1000


def submit(
    service: Service, task_type: str, payloads: list[dict[str, Any]], **options: Any
) -> list[str]:
    body = [{"task_type": task_type, "payload": payload, **options} for payload in payloads]
    answer = service.http.post("/tasks/batch", json={"tasks": body})
    assert answer.status_code == 202, answer.text
    return [task["task_id"] for task in answer.json()["tasks"]]


def wait_all(service: Service, task_ids: list[str], seconds: float) -> list[dict[str, Any]]:
    """Return the tasks when all have ended."""
    deadline = time.monotonic() + seconds
    tasks = []
    for task_id in task_ids:
        while True:
            left = max(0.0, deadline - time.monotonic())
            task = service.http.get(f"/tasks/{task_id}", params={"wait": min(left, 60)}).json()
            if task["state"] in ("COMPLETED", "FAILED", "CANCELLED"):
                break
            assert left, f"{task['state']} after {seconds} s: {task}"
        tasks.append(task)
    return tasks


def counts(tasks: list[dict[str, Any]]) -> Counter[tuple[str, int]]:
    """Return how many tasks have which state and how many crashes."""
    return Counter((task["state"], task["crashes"]) for task in tasks)


def span(tasks: list[dict[str, Any]]) -> float:
    """Return the seconds from the first submission to the last end."""
    first = min(datetime.fromisoformat(task["created_at"]) for task in tasks)
    last = max(datetime.fromisoformat(task["finished_at"]) for task in tasks)
    return (last - first).total_seconds()


def test_a_thousand_waits_of_a_second_are_waited_together(concurrent_service: Service) -> None:
    wait_all(concurrent_service, submit(concurrent_service, "many_waits", [{}]), 60)
    ids = submit(concurrent_service, "many_waits", [{"seconds": 1}] * MANY)
    tasks = wait_all(concurrent_service, ids, 60)
    assert counts(tasks) == {("COMPLETED", 0): MANY}
    (runner,) = {attempt["pid"] for task in tasks for attempt in task["attempts"]}
    assert runner
    TIMES["1,000 waits of 1 s in one runner, from the first submission"] = span(tasks)


def test_one_that_kills_its_process_fails_alone(concurrent_service: Service) -> None:
    payloads: list[dict[str, Any]] = [{"seconds": 1}] * MANY
    payloads[MANY // 2] = {"kills": True}
    ids = submit(concurrent_service, "many_waits", payloads)
    poison = ids.pop(MANY // 2)
    tasks = wait_all(concurrent_service, ids, 120)
    assert counts(tasks) == {("COMPLETED", 0): MANY - 1}
    ended = wait_all(concurrent_service, [poison], 60)
    assert counts(ended) == {("FAILED", 4): 1}  # MAX_CRASHES is 3
    TIMES["one of 1,000 attempts kills its process: all others done"] = span(tasks)
    assert {attempt["outcome"] for attempt in ended[0]["attempts"]} == {"lost"}


def test_one_that_kills_a_batch_fails_alone(concurrent_service: Service) -> None:
    payloads: list[dict[str, Any]] = [{}] * 200
    payloads[50] = {"kills": True}
    ids = submit(concurrent_service, "model_batch", payloads)
    poison = ids.pop(50)
    assert counts(wait_all(concurrent_service, ids, 60)) == {("COMPLETED", 0): 199}
    assert counts(wait_all(concurrent_service, [poison], 60)) == {("FAILED", 4): 1}


def test_the_retry_of_what_cannot_be_interrupted_does_not_run_beside_it(
    concurrent_service: Service, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    script = {"mark": str(mark), "seconds": 3600}
    [stuck] = submit(concurrent_service, "stuck_once", [script], timeout_seconds=0.5)
    [task] = wait_all(concurrent_service, [stuck], 60)
    assert [attempt["outcome"] for attempt in task["attempts"]] == ["timed_out", "succeeded"]
    assert task["crashes"] == 0
    first, second = (line.split() for line in mark.read_text().splitlines())
    assert first[0] != second[0]  # another process
    assert second[1] == "alone"
