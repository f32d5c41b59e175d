"""Processes that run handlers are killed or frozen: what was cut runs again, and nothing else."""

from pathlib import Path

import pytest

from tests.cluster.conftest import Service
from tests.cluster.processes import (
    TASK_RUNNER,
    begun,
    frozen,
    kill,
    marks,
    only,
    wait_gone,
)
from tests.cluster.recovery import recovering


@pytest.mark.parametrize(
    ("task_type", "victim"),
    [
        ("scripted", "a warm runner"),
        ("scripted_class", "a class handler's runner"),
        ("scripted_remote", "a remote task's worker"),
    ],
)
def test_a_killed_process_costs_one_attempt(
    service: Service, tmp_path: Path, task_type: str, victim: str
) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    script = {"step": "wait_file", "file": str(gate), "mark": str(mark)}
    task = service.submit(task_type, script)
    process = begun(mark)
    process.suspend()  # else it might be done before it is dead
    gate.touch()
    with recovering(f"{victim} killed (SIGKILL)"):
        kill(process)
        done = service.wait(task)
    outcomes = [attempt["outcome"] for attempt in done["attempts"]]
    assert (done["state"], outcomes) == ("COMPLETED", ["lost", "succeeded"])
    assert done["crashes"] == 1
    assert len(marks(mark)) == 2


def test_the_task_runner_killed_loses_its_attempts_and_nobody_is_blamed(
    service: Service, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    tasks, files = [], [tmp_path / f"mark{n}" for n in range(2)]
    for mark in files:
        script = {"step": "wait_file", "file": str(gate), "mark": str(mark)}
        tasks.append(service.submit("scripted_remote", script))
        begun(mark)
    with recovering("the task runner killed (SIGKILL)"):
        kill(only(service, TASK_RUNNER))
        for mark in files:
            begun(mark, attempts=2)
        gate.touch()
        ended = [service.wait(task) for task in tasks]
    for done in ended:
        assert [attempt["outcome"] for attempt in done["attempts"]] == ["lost", "succeeded"]
        assert done["crashes"] == 0


def test_poison_fails_alone(service: Service) -> None:
    """It kills each process that it runs in; its neighbours in the batch complete, uncharged."""
    for _ in range(3):  # so short on the average that they travel together
        service.run("scripted", {})
    blocker = service.submit("scripted", {"step": "sleep", "seconds": 0.5})
    before = [service.submit("scripted", {"value": n}) for n in range(10)]
    poison = service.submit("scripted", {"step": "kill"})
    after = [service.submit("scripted", {"value": n}) for n in range(10)]
    ended = service.wait(poison)
    assert (ended["state"], ended["error"]["type"]) == ("FAILED", "WorkerLost")
    assert ended["crashes"] == 4  # MAX_CRASHES is 3
    for task in [blocker, *before, *after]:
        done = service.wait(task)
        assert (done["state"], done["crashes"]) == ("COMPLETED", 0), done["attempts"]


def test_a_frozen_runner_loses_its_attempts_and_is_replaced(
    service: Service, tmp_path: Path
) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    script = {"step": "wait_file", "file": str(gate), "mark": str(mark)}
    task = service.submit("scripted_single", script)
    process = begun(mark)
    with frozen(process), recovering("a runner frozen (SIGSTOP); its lease is 5 s here"):
        begun(mark, attempts=2)
        gate.touch()
        done = service.wait(task)
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["lost", "succeeded"]
    assert "lease" in done["attempts"][0]["error"]["message"]
    wait_gone(process, seconds=30)  # Ray has killed it
