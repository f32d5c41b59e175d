"""Remote tasks in a placement group: without it, in it, beside it, and when it is removed."""

import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import Service
from tests.cluster.processes import PATIENCE_SECONDS
from tests.group_handlers import GROUP

pytestmark = pytest.mark.slow

DRIVER = """
import sys
import ray
from ray.util import placement_group, remove_placement_group

ray.init(address="auto", namespace="raytasks", log_to_driver=False)
for line in sys.stdin:
    if line.strip() == "make":
        group = placement_group([{"CPU": 2}], name=sys.argv[1], lifetime="detached")
    else:
        remove_placement_group(group)
    print(group.id.hex(), flush=True)
"""


class Driver:
    """A driver beside the service that makes and removes the group; each call returns its id."""

    def __init__(self, service: Service) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, GROUP],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**service.environment, "RAY_ADDRESS": service.ray_address},
        )

    def ask(self, order: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer, self.process.wait(10)
        return answer


@pytest.fixture
def driver(pooled_service: Service) -> Iterator[Driver]:
    """A driver; no group is left behind."""
    driver = Driver(pooled_service)
    yield driver
    if driver.process.poll() is None:
        driver.ask("remove")
    driver.process.communicate(timeout=PATIENCE_SECONDS)


def waits(service: Service, task: dict[str, Any], code: str) -> str:
    """Return the message of the reason with this code once the task waits for that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = service.get(task)
        for reason in found["waiting_for"] or ():
            if reason["code"] == code:
                return str(reason["message"])
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def begun(service: Service, task: dict[str, Any]) -> None:
    """Wait until the handler runs."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := service.get(task))["started_at"] is None or found["state"] != "RUNNING":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def test_a_group_comes_and_goes_and_comes_again(pooled_service: Service, driver: Driver) -> None:
    service = pooled_service
    early = service.submit("grouped", {})
    assert f"the placement group {GROUP} does not exist" in waits(
        service, early, "no_placement_group"
    )
    health = service.http.get("/health").json()
    [told] = [item for item in health["reasons"] if item["code"] == "no_placement_group"]
    assert (health["status"], told["count"]) == ("degraded", 1)
    assert service.get(early)["state"] == "PENDING"  # not even claimed

    group = driver.ask("make")  # of all processors
    assert service.wait(early)["result"] == group

    hanging = service.submit("grouped", {"ends": 2})
    begun(service, hanging)
    stubborn = service.submit("grouped", {"ends": 2, "stubborn": True})
    begun(service, stubborn)
    queued = service.submit("grouped", {})
    words = f"no bundle 0 of the placement group {GROUP} has CPU: 1 free now"
    assert waits(service, queued, "no_resources") == words
    beside = service.submit("apart", {})
    assert waits(service, beside, "no_resources").startswith("no node of the cluster has CPU: 0.5")
    large = service.submit("grouped_large", {})
    words = f"no bundle of the placement group {GROUP} has CPU: 8"
    assert waits(service, large, "never_fits") == words
    assert service.http.post(f"/tasks/{large['task_id']}/cancel").status_code == 202

    driver.ask("remove")
    for task in (hanging, stubborn, queued):
        waits(service, task, "no_placement_group")
    assert service.wait(beside)["state"] == "COMPLETED"

    again = driver.ask("make")
    assert again != group
    for task in (hanging, stubborn, queued):
        assert service.wait(task)["result"] == again
    for task in (hanging, stubborn):
        found = service.get(task)
        first, second = found["attempts"]
        assert (first["outcome"], second["outcome"]) == ("lost", "succeeded"), found
        assert "placement group was removed" in first["error"]["message"]
        assert found["crashes"] == 0
