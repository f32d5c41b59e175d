"""A pool of none or more runners: it starts, grows, is set to other sizes, and shrinks."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from tests.cluster.conftest import Service
from tests.cluster.processes import PATIENCE_SECONDS, TRACKER, kill, only

pytestmark = pytest.mark.slow


@pytest.fixture
def service(pooled_service: Service) -> Service:
    """The service with the pool `burst`, which nothing was set for."""
    answer = pooled_service.http.delete("/pools/burst")
    assert answer.status_code == 200, answer.text
    return pooled_service


def burst(service: Service) -> dict[str, Any]:
    """Return the pool as it is now."""
    answer = service.http.get("/pools")
    assert answer.status_code == 200, answer.text
    [found] = [pool for pool in answer.json()["pools"] if pool["name"] == "burst"]
    return dict(found)


def until(service: Service, holds: Callable[[dict[str, Any]], bool]) -> list[int]:
    """Wait until something holds of the pool; return the numbers of runners that it had."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    sizes: list[int] = []
    while True:
        found = burst(service)
        staying = found["runners"] - found["states"]["leaving"]
        if staying not in sizes[-1:]:
            sizes.append(staying)
        if holds(found):
            return sizes
        assert time.monotonic() < deadline, (sizes, found)
        time.sleep(0.1)


def is_empty(pool: dict[str, Any]) -> bool:
    return bool(pool["runners"] == 0)


def set_sizes(service: Service, least: int, most: int) -> dict[str, Any]:
    answer = service.http.put("/pools/burst", json={"runners": [least, most]})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert (found["min_runners"], found["max_runners"]) == (least, most)
    return found


def sleeps(service: Service, number: int, seconds: float) -> list[dict[str, Any]]:
    task = {"task_type": "pooled_sleep", "payload": {"seconds": seconds}}
    answer = service.http.post("/tasks/batch", json={"tasks": [task] * number})
    assert answer.status_code == 202, answer.text
    return list(answer.json()["tasks"])


def reasons(service: Service, task: dict[str, Any]) -> set[str]:
    """Return the codes of what a task waits for until it runs."""
    found: set[str] = set()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (now := service.get(task))["state"] == "PENDING":
        found |= {reason["code"] for reason in now["waiting_for"] or ()}
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return found


def test_the_first_task_starts_the_first_runner(service: Service) -> None:
    until(service, is_empty)
    codes = {reason["code"] for reason in service.http.get("/health").json()["reasons"]}
    assert "no_runner" not in codes
    tasks = [
        service.submit(kind, {"seconds": 0})
        for kind in ("pooled_sleep", "pooled_wait", "pooled_class")
    ]
    seen = reasons(service, tasks[0])
    assert seen <= {"no_runner", "runner_starting"}
    assert "runner_starting" in seen
    first, second, (third, _) = (service.wait(task)["result"] for task in tasks)
    assert first == second == third  # functions and classes share the process
    assert until(service, is_empty)[-1] == 0


def test_it_grows_at_once_to_what_its_work_asks_for_and_shrinks_again(service: Service) -> None:
    until(service, is_empty)
    service.run("pooled_sleep", {"seconds": 2})  # now its running time is known
    tasks = sleeps(service, 12, 2.0)
    until(service, lambda pool: pool["runners"] == 4)
    runners = service.http.get("/runners").json()["runners"]
    begun = [
        datetime.fromisoformat(runner["since"])
        for runner in runners
        if runner["pool"] == "burst" and runner["state"] == "starting"
    ]
    assert len(begun) == 3
    assert (max(begun) - min(begun)).total_seconds() < 0.5  # in one look at the pool
    pids = {service.wait(task)["result"] for task in tasks}
    assert len(pids) >= 3
    assert until(service, is_empty)[-1] == 0


def test_its_sizes_are_set_while_it_works(service: Service) -> None:
    assert set_sizes(service, 3, 6)["override"]["runners"] == [3, 6]
    until(service, lambda pool: pool["states"]["idle"] == 3)
    tasks = sleeps(service, 6, 4.0)
    until(service, lambda pool: pool["states"]["busy"] >= 3)
    set_sizes(service, 0, 1)
    until(service, lambda pool: pool["runners"] == 1)
    for task in tasks:  # those that left have finished what they ran
        done = service.wait(task)
        assert (done["state"], done["attempt"]) == ("COMPLETED", 1)
    answer = service.http.delete("/pools/burst").json()
    assert (answer["min_runners"], answer["max_runners"], answer["override"]) == (0, 4, None)
    until(service, is_empty)


def test_what_was_set_survives_the_tracker(service: Service) -> None:
    set_sizes(service, 2, 2)
    until(service, lambda pool: pool["states"]["idle"] == 2)
    kill(only(service, TRACKER))
    tasks = sleeps(service, 4, 0.5)
    for task in tasks:
        assert service.wait(task)["state"] == "COMPLETED"
    found = burst(service)
    assert found["override"]["runners"] == [2, 2]
    until(service, lambda pool: pool["states"]["idle"] == 2 and pool["min_runners"] == 2)
    assert service.http.delete("/pools/burst").status_code == 200
    until(service, is_empty)
    kill(only(service, TRACKER))
    assert service.run("pooled_sleep", {"seconds": 0})["state"] == "COMPLETED"
