"""The runners as the tracker sees them."""

from raytasks.model.tasks import Running
from raytasks.tracker.fleet import Fleet


def test_cancel_of_a_task_whose_runner_has_just_died_is_kept_for_its_end() -> None:
    fleet = Fleet()
    fleet.begin(Running("task", "type", 1, "runner", 0.0, 0, 0, 0, 3), seen_at=0.0)
    assert fleet.remove("runner", for_good=True)
    fleet.mark_cancelled("task")
    assert fleet.running["task"].cancel_requested
