"""A flood of short tasks, remote tasks that need room beside it, and what people see of both."""

import os
import platform
import time
from datetime import datetime
from typing import Any

import pytest

from tests.cluster.conftest import FLOODED_CPUS, Service
from tests.cluster.processes import PATIENCE_SECONDS

pytestmark = pytest.mark.slow


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
    deadline = time.monotonic() + PATIENCE_SECONDS
    told: list[str] = []
    while not told:  # an autoscaler would have some seconds to add a node
        assert time.monotonic() < deadline
        health = service.http.get("/health")
        reasons = health.json()["reasons"]
        told = [item["message"] for item in reasons if item["code"] == "never_fits"]
    assert (health.status_code, health.json()["status"]) == (200, "degraded")
    assert "scripted_huge" in told[0]
    assert service.shared_runners() == FLOODED_CPUS  # it takes nothing away
    done = service.run("scripted_large", {"value": 4}, priority=-5)
    assert done["state"] == "COMPLETED"
    assert done["claimed_at"] < done["started_at"]
    assert service.http.get("/health").json()["tracker"]["backlog"] > 0


def test_the_older_one_of_two_that_are_too_big_together_begins_first(service: Service) -> None:
    tasks = [service.submit("scripted_large", {"step": "sleep", "seconds": 3}) for _ in range(2)]
    reason(service, tasks[1], "no_resources")
    first, second = (service.wait(task) for task in tasks)
    # What a runner tells takes its time to the tracker, by whose clock the times are.
    apart = moment(second["started_at"]) - moment(first["started_at"])
    assert apart.total_seconds() > 1.5
    assert service.http.get("/health").json()["tracker"]["backlog"] > 0


def test_a_task_behind_the_flood_says_so(service: Service) -> None:
    last = service.submit("scripted", {}, priority=-50)
    found = reason(service, last, "behind_others")
    [told] = found["waiting_for"]
    assert (told["details"]["pool"], told["details"]["more"]) == ("shared", True)
    assert told["details"]["before"] == 1000
    later = service.submit("scripted", {}, delay_seconds=600)
    assert reason(service, later, "not_due")["waiting_for"][0]["until"] == later["run_at"]
    for task in (last, later):
        assert service.http.post(f"/tasks/{task['task_id']}/cancel").status_code == 202


def test_what_the_service_consists_of(service: Service) -> None:
    def listed(name: str) -> list[dict[str, Any]]:
        answer = service.http.get(f"/{name}")
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()[name]
        return found

    [version] = listed("versions")
    assert (version["number"], version["state"], version["in_force"]) == (1, "passed", True)
    assert "scripted_huge" in version["task_types"]
    [node] = listed("nodes")
    assert (node["head"], node["alive"], node["host"]) == (True, True, platform.node())
    assert node["resources"]["CPU"]["total"] == FLOODED_CPUS
    pools = {pool["name"]: pool for pool in listed("pools")}
    assert pools["shared"]["max_runners"] == FLOODED_CPUS
    assert pools["shared"]["backlog"] > 0
    assert pools["shared"]["oldest_due_seconds"] > 0
    states = pools["remote"]["states"]
    assert (pools["remote"]["runners"], states["idle"] + states["busy"]) == (1, 1)
    shared = [runner for runner in listed("runners") if runner["pool"] == "shared"]
    assert len(shared) >= FLOODED_CPUS
    for runner in shared:
        os.kill(runner["pid"], 0)
        assert (runner["host"], runner["version"]) == (platform.node(), 1)
        assert runner["node_id"] == node["node_id"]
        assert runner["way"] == "socket"
        assert runner["name"] in node["runners"]
    [attempt] = service.run("scripted", {}, priority=50)["attempts"]
    assert attempt["host"] == platform.node()
    assert attempt["pid"] in {runner["pid"] for runner in listed("runners")}
    for probe in ("/livez", "/readyz"):
        assert service.http.get(probe).status_code == 200
