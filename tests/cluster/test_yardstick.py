"""The yardstick: fifty tasks, and all their workers killed in the middle.

A flood of other tasks has brought up all runners, and goes on meanwhile.
"""

from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import FLOODED_CPUS, Service
from tests.cluster.processes import WARM_RUNNER, begun, kill, marks, processes
from tests.cluster.recovery import recovering


@pytest.fixture
def service(flooded_service: Service) -> Service:
    """The service in a flood."""
    return flooded_service


def test_fifty_tasks_whose_workers_are_all_killed(service: Service, tmp_path: Path) -> None:
    """None is undone, and only what was cut is started twice."""
    files = [tmp_path / f"mark{n}" for n in range(50)]
    scripts = [{"step": "sleep", "seconds": 0.2, "mark": str(mark)} for mark in files]
    tasks = [service.submit("scripted", script, priority=100) for script in scripts]
    begun(files[24])
    victims = [process for process in processes(service, WARM_RUNNER) if _holds(process, files)]
    with recovering(f"50 tasks of 0.2 s, all {FLOODED_CPUS} runners killed in the middle"):
        kill(*victims)
        ended = [service.wait(task) for task in tasks]
    assert {task["state"] for task in ended} == {"COMPLETED"}
    twice = [mark for mark in files if len(marks(mark)) > 1]
    assert 1 <= len(twice) <= len(victims)
    assert all(len(marks(mark)) <= 2 for mark in files)


def _holds(process: psutil.Process, files: list[Path]) -> bool:
    return any(pid == process.pid for mark in files for _, pid in marks(mark))
