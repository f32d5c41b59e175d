"""A flood of short tasks, and remote tasks that need room beside it."""

import time
from datetime import datetime
from typing import Any

import pytest

from tests.cluster.conftest import FLOODED_CPUS, Service
from tests.cluster.processes import PATIENCE_SECONDS


@pytest.fixture
def service(flooded_service: Service) -> Service:
    """The service in a flood."""
    return flooded_service


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
    assert service.shared_runners() == FLOODED_CPUS  # it takes nothing away
    done = service.run("scripted_large", {"value": 4}, priority=-5)
    assert done["state"] == "COMPLETED"
    assert done["claimed_at"] < done["started_at"]
    assert service.http.get("/health").json()["tracker"]["backlog"] > 0


def test_the_older_one_of_two_that_are_too_big_together_begins_first(service: Service) -> None:
    tasks = [service.submit("scripted_large", {"step": "sleep", "seconds": 3}) for _ in range(2)]
    first, second = (service.wait(task) for task in tasks)
    # What a runner tells takes its time to the tracker, by whose clock the times are.
    apart = moment(second["started_at"]) - moment(first["started_at"])
    assert apart.total_seconds() > 1.5
    assert service.http.get("/health").json()["tracker"]["backlog"] > 0
