"""The two rings of retry: Ray's within an attempt, ours around it; and checkpoints through both."""

from pathlib import Path

import pytest

from tests.cluster.conftest import Service
from tests.cluster.processes import TRACKER, kill, marks, only


def test_ray_retries_within_one_attempt(service: Service, tmp_path: Path) -> None:
    for step in ("ring_error", "ring_exit"):
        mark = tmp_path / step
        done = service.run("scripted_ring", {"step": step, "seconds": 2, "mark": str(mark)})
        assert (done["state"], done["result"]) == ("COMPLETED", {"tries": 3, "attempt": 1})
        [attempt] = done["attempts"]
        assert (attempt["outcome"], attempt["ray_attempt"]) == ("succeeded", 2)
        assert {number for number, _ in marks(mark)} == {1}


def test_when_ray_has_given_up_the_outer_ring_goes_on(service: Service, tmp_path: Path) -> None:
    mark = tmp_path / "error"
    done = service.run("scripted_ring", {"step": "ring_error", "seconds": 4, "mark": str(mark)})
    assert (done["state"], done["result"]) == ("COMPLETED", {"tries": 5, "attempt": 2})
    first, second = done["attempts"]
    assert (first["outcome"], first["ray_attempt"]) == ("failed", 2)
    assert (first["error"]["type"], second["ray_attempt"]) == ("ConnectionError", 1)

    mark = tmp_path / "exit"
    done = service.run("scripted_ring", {"step": "ring_exit", "seconds": 3, "mark": str(mark)})
    assert (done["state"], done["crashes"]) == ("COMPLETED", 1)
    first, second = done["attempts"]
    assert (first["outcome"], first["ray_attempt"], second["ray_attempt"]) == ("lost", 2, 0)


def test_a_process_that_dies_before_the_handler_begins_costs_no_attempt(service: Service) -> None:
    fuse = Path(service.environment["SCRIPTED_FUSE_FILE"])
    fuse.touch()
    done = service.run("scripted_fused", {})
    assert not fuse.exists()
    assert [attempt["outcome"] for attempt in done["attempts"]] == ["succeeded"]


def test_errors_that_are_not_named_are_not_retried_by_ray(service: Service, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    done = service.run("scripted_ring", {"step": "fail", "mark": str(mark)}, max_attempts=2)
    assert [attempt["ray_attempt"] for attempt in done["attempts"]] == [0, 0]
    assert len(marks(mark)) == 2


@pytest.mark.slow
def test_five_thousand_shards_go_on_where_they_were(service: Service) -> None:
    for task_type in ("scripted", "scripted_class", "scripted_remote", "scripted_ring"):
        done = service.run(task_type, {"step": "shards"})
        assert done["state"] == "COMPLETED"
        assert done["result"]["began_at"] == 4900


def test_progress_is_kept_when_the_tracker_dies(service: Service, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    task = service.submit("scripted", {"step": "progress", "seconds": 0.5})
    service.wait(task)
    running = service.submit("scripted_single", {"step": "wait_file", "file": str(gate)})
    service.wait_until(running, "RUNNING")
    kill(only(service, TRACKER))
    assert service.get(task)["progress"] == {"fraction": 1.0, "message": "step 5 of 5"}
    gate.touch()
    service.wait(running)
