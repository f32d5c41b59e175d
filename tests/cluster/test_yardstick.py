"""The yardstick: fifty tasks, and all their workers killed in the middle.

This module runs a service of its own, and so must come before the one that all others share.
"""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.conftest import Service, start_service
from tests.cluster.processes import WARM_RUNNER, begun, kill, marks, processes
from tests.cluster.recovery import recovering


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with four runners in its shared pool."""
    running = start_service(tmp_path, WARM_RUNNERS_MIN="4", TASK_MODULES="tests.scripted")
    yield running
    running.http.close()
    assert running.stop() == 0, running.log.read_text()


def test_fifty_tasks_whose_workers_are_all_killed(service: Service, tmp_path: Path) -> None:
    """None is undone, and only what was cut is started twice."""
    files = [tmp_path / f"mark{n}" for n in range(50)]
    script = {"step": "sleep", "seconds": 0.2}
    tasks = [service.submit("scripted", {**script, "mark": str(mark)}) for mark in files]
    begun(files[24])
    victims = [process for process in processes(service, WARM_RUNNER) if _holds(process, files)]
    with recovering("50 tasks of 0.2 s, all 4 runners killed (SIGKILL) in the middle"):
        kill(*victims)
        ended = [service.wait(task) for task in tasks]
    assert {task["state"] for task in ended} == {"COMPLETED"}
    twice = [mark for mark in files if len(marks(mark)) > 1]
    assert 1 <= len(twice) <= len(victims)
    assert all(len(marks(mark)) <= 2 for mark in files)


def _holds(process: psutil.Process, files: list[Path]) -> bool:
    return any(pid == process.pid for mark in files for _, pid in marks(mark))
