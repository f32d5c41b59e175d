"""The newest deleted tasks: late copies of their submissions do not make them again."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from raytasks.model.tasks import NewTask

KEEP_SECONDS = 600.0
"""How long the id of a deleted task is remembered. A copy of its submission may wait as long in the
queue of calls of a tracker that was frozen."""

MOST = 100_000
"""Maximum number of ids that are remembered; the oldest are forgotten first."""


class DeletedTasks:
    """The ids of the newest deleted tasks, in memory only.

    Ray may deliver a submission twice, and whoever submits tries again what was not answered. A
    copy that comes after the deletion of its task must not run the task again. `monotonic` measures
    seconds.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        # By task id, oldest first. A plain dict would scan all that was forgotten at its front.
        self._until: OrderedDict[str, float] = OrderedDict()

    def note(self, task_ids: Iterable[str]) -> None:
        """Remember tasks that were deleted now."""
        now = self._monotonic()
        for task_id in task_ids:
            self._until[task_id] = now + KEEP_SECONDS
            self._until.move_to_end(task_id)
        self._forget(now)

    def without(self, tasks: Sequence[NewTask]) -> Sequence[NewTask]:
        """Return the new tasks among some that come in: those that were not deleted before."""
        if not self._until:
            return tasks
        self._forget(self._monotonic())
        return [task for task in tasks if task.task_id not in self._until]

    def _forget(self, now: float) -> None:
        while self._until:
            oldest = next(iter(self._until))
            if len(self._until) <= MOST and self._until[oldest] > now:
                break
            self._until.popitem(last=False)
