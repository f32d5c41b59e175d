"""The Ray tasks that an attempt has started. They are cancelled when the attempt is stopped."""

import logging

import ray

from raytasks.runner.on_ray.ray_internals import children_of

log = logging.getLogger(__name__)

_MAKES_ACTOR = b"\xff" * 8  # the first bytes of the ids of tasks that make an actor
_FIRST_RETURN = (1).to_bytes(4, "little")  # an object's id: its task's, then the return's number


class ChildTasks:
    """The Ray tasks that were started from this thread since `mark`, and have not ended.

    Make it in the thread that runs the handler. Tasks from other threads of a handler are not seen.
    """

    def __init__(self) -> None:
        task_id = ray.get_runtime_context().get_task_id()
        self._parent = None if task_id is None else ray.TaskID(bytes.fromhex(task_id))
        self._before: set[bytes] = set()

    def mark(self) -> None:
        """Note the tasks that run already: they belong to earlier attempts."""
        self._before = set(self._pending())

    def cancel(self) -> None:
        """Cancel the tasks that were started since, and their own children. Safe from any thread.

        Actors that are still being made are left alone: Ray would end the process that cancels
        them. They end when no handle to them is left.
        """
        for task_id in self._pending():
            if task_id in self._before or task_id.startswith(_MAKES_ACTOR):
                continue
            try:
                ray.cancel(ray.ObjectRef(task_id + _FIRST_RETURN))
            except Exception as error:
                log.warning("a Ray task of a stopped attempt cannot be cancelled: %r", error)

    def _pending(self) -> list[bytes]:
        return [] if self._parent is None else children_of(self._parent)
