"""The Ray tasks that an attempt has started itself: cancelled when the attempt is stopped."""

import ray

from raytasks.runner.ray_internals import children_of

_FIRST_RETURN = (1).to_bytes(4, "little")  # an object's id is its task's, and the return's number


class ChildTasks:
    """The Ray tasks that were started from this thread since `mark`, and have not ended.

    Made in the thread that runs the handler; other threads that a handler starts are not seen.
    """

    def __init__(self) -> None:
        self._parent = ray.get_runtime_context().get_task_id() or ""
        self._before: set[bytes] = set()

    def mark(self) -> None:
        """Note what runs already: it belongs to earlier attempts."""
        self._before = set(children_of(self._parent))

    def cancel(self) -> None:
        """Cancel what was started since, and what that has started. Safe from any thread."""
        for task_id in children_of(self._parent):
            if task_id not in self._before:
                ray.cancel(ray.ObjectRef(task_id + _FIRST_RETURN))
