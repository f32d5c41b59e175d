"""Timeouts and cancels: ask, interrupt, kill; what an attempt has started on Ray ends with it."""

import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.cluster.conftest import Service
from tests.cluster.processes import PATIENCE_SECONDS, TRACKER, begun, kill, only, runs, wait_gone
from tests.cluster.recovery import recovering

EVERY_KIND = ["scripted", "scripted_async", "scripted_class", "scripted_remote"]


def outcomes(task: dict[str, Any]) -> list[str]:
    return [attempt["outcome"] for attempt in task["attempts"]]


@pytest.mark.parametrize("task_type", EVERY_KIND)
@pytest.mark.parametrize("step", ["wait_cancelled", "sleep"])
def test_a_timeout_ends_the_attempt_and_the_policy_decides(
    service: Service, task_type: str, step: str
) -> None:
    task = service.submit(
        task_type, {"step": step, "seconds": 30}, timeout_seconds=0.3, max_attempts=2
    )
    with recovering(f"timeout of 0.3 s, twice: {step} in {task_type}"):
        ended = service.wait(task)
    assert (ended["state"], outcomes(ended)) == ("FAILED", ["timed_out"] * 2)
    assert ended["error"]["type"] == "AttemptTimeout"
    assert service.run(task_type, {})["state"] == "COMPLETED"  # the place is really free


@pytest.mark.parametrize("task_type", ["scripted", "scripted_class", "scripted_remote"])
def test_code_that_is_stuck_in_c_is_ended_with_its_process(
    service: Service, tmp_path: Path, task_type: str
) -> None:
    mark = tmp_path / "mark"
    script = {"step": "hang_in_c", "seconds": 600, "mark": str(mark)}
    task = service.submit(task_type, script, timeout_seconds=0.3, max_attempts=1)
    process = begun(mark)
    with recovering(f"timeout of 0.3 s: stuck in C in {task_type}"):
        ended = service.wait(task)
    assert (ended["state"], outcomes(ended)) == ("FAILED", ["timed_out"])
    wait_gone(process)
    assert service.run(task_type, {})["state"] == "COMPLETED"


def test_a_spare_runner_takes_over_at_once(service: Service, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    stuck = service.submit("scripted", {"step": "hang_in_c", "seconds": 600, "mark": str(mark)})
    begun(mark)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(shared_runners(service)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with recovering("a runner is stuck: the next task, by the spare one"):
        assert service.run("scripted", {})["state"] == "COMPLETED"
    service.http.post(f"/tasks/{stuck['task_id']}/cancel")
    assert service.wait(stuck)["state"] == "CANCELLED"


def shared_runners(service: Service) -> list[dict[str, Any]]:
    found = service.http.get("/health").json()["runners"]["list"]
    return [runner for runner in found if runner["pool"] == "shared"]


@pytest.mark.parametrize("task_type", ["scripted", "scripted_class", "scripted_remote"])
@pytest.mark.parametrize("step", ["ray_get", "ray_leave"])
def test_what_it_has_started_on_ray_is_cancelled_too(
    service: Service, tmp_path: Path, task_type: str, step: str
) -> None:
    file = tmp_path / "child"
    task = service.submit(task_type, {"step": step, "file": str(file)})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child = psutil.Process(int(file.read_text()))
    assert child.cmdline()[0] == "ray::child"
    service.http.post(f"/tasks/{task['task_id']}/cancel")
    assert service.wait(task)["state"] == "CANCELLED"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while runs(child) and child.cmdline()[:1] == ["ray::child"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_cancel_is_not_forgotten_when_the_tracker_dies(service: Service, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    task = service.submit("scripted_remote", {"step": "spin", "seconds": 60, "mark": str(mark)})
    begun(mark)
    answer = service.http.post(f"/tasks/{task['task_id']}/cancel")
    assert answer.status_code == 202
    kill(only(service, TRACKER))
    assert service.get(task)["cancel_requested"]
    assert service.wait(task)["state"] == "CANCELLED"
