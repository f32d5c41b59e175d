"""A flood of short tasks, and remote tasks that need room beside it.

This module runs a service of its own, and so must come before the one that all others share.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.cluster.conftest import Service, start_service
from tests.cluster.processes import PATIENCE_SECONDS

CPUS = 6


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with some processors, all of which a flood of short tasks has taken."""
    running = start_service(
        tmp_path_factory.mktemp("service"), cpus=CPUS, TASK_MODULES="tests.scripted"
    )
    flood = [{"task_type": "scripted", "payload": {"step": "sleep", "seconds": 0.2}}] * 1000
    for _ in range(5):
        assert running.http.post("/tasks/batch", json={"tasks": flood}).status_code == 202
    deadline = time.monotonic() + PATIENCE_SECONDS
    while shared_runners(running) < CPUS:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield running
    running.http.close()
    running.stop()


def shared_runners(service: Service) -> int:
    """Return how many warm runners have loaded the handlers."""
    runners = service.http.get("/health").json()["runners"]["list"]
    return sum(runner["pool"] == "shared" and runner["loaded"] for runner in runners)


def reason(service: Service, task: dict[str, Any], code: str) -> dict[str, Any]:
    """Return a task when it waits for this."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = service.get(task)
        if [item["code"] for item in found["waiting_for"] or ()] == [code]:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_large_task_begins_while_the_flood_goes_on(service: Service) -> None:
    huge = service.submit("scripted_huge", {})
    found = reason(service, huge, "never_fits")
    assert (found["state"], found["started_at"]) == ("RUNNING", None)
    assert found["claimed_at"] is not None
    assert shared_runners(service) == CPUS  # it takes nothing away
    done = service.run("scripted_large", {"value": 4}, priority=-5)
    assert done["state"] == "COMPLETED"
    assert done["claimed_at"] < done["started_at"]
    assert service.http.get("/health").json()["tracker"]["backlog"] > 0


def test_the_older_one_of_two_that_are_too_big_together_begins_first(service: Service) -> None:
    tasks = [service.submit("scripted_large", {"step": "sleep", "seconds": 1}) for _ in range(2)]
    first, second = (service.wait(task) for task in tasks)
    # What a runner tells takes its time to the tracker, by whose clock the times are.
    apart = moment(second["started_at"]) - moment(first["started_at"])
    assert apart.total_seconds() > 0.8
    assert service.http.get("/health").json()["tracker"]["backlog"] > 0
