"""The tracker's process is killed: nothing that runs is cut, and nothing accepted is lost."""

from pathlib import Path

import psutil

from tests.cluster.conftest import Service


def test_running_and_waiting_tasks_survive_the_tracker(service: Service, tmp_path: Path) -> None:
    gate, mark = tmp_path / "gate", tmp_path / "mark"
    script = {"step": "wait_file", "file": str(gate), "mark": str(mark)}
    running = [service.submit(kind, script) for kind in ("scripted_single", "scripted_remote")]
    for task in running:
        service.wait_until(task, "RUNNING")
    waiting = [service.submit("scripted_single", {"value": n}) for n in range(20)]
    tracker = service.process_of("TrackerActor")
    tracker.kill()
    psutil.wait_procs([tracker], timeout=10)
    accepted = service.submit("noop", {})  # Ray sends it again to the tracker's next life
    gate.touch()
    for task in running:
        done = service.wait(task)
        assert (done["state"], done["attempt"]) == ("COMPLETED", 1)
    assert len(mark.read_text().splitlines()) == len(running)
    for task in [*waiting, accepted]:
        assert service.wait(task)["state"] == "COMPLETED"
    assert service.process_of("TrackerActor").pid != tracker.pid
