"""A task as a test sees it."""

from typing import Any

from pydantic_core import from_json

from raytasks.api.live_view import LiveView
from raytasks.api.views import show, task_json
from raytasks.model.states import State
from raytasks.protocol.commands import CancelTask, ChangeTask, DeleteTask, RetryTask
from raytasks.protocol.queries import TaskActs
from raytasks.testing.in_process_service import InProcessService

_BY = "test"
"""The name under which a test acts."""


class QueuedTask:
    """A task in the queue of a test. Its properties are always up to date.

    A `duplicate` was no new task at its submission: it was open, and holds the unique key.
    """

    def __init__(self, service: InProcessService, task_id: str, *, duplicate: bool = False) -> None:
        self._service = service
        self.task_id = task_id
        self.duplicate = duplicate

    def __repr__(self) -> str:
        return f"<task {self.task_id}: {self.state}>"

    @property
    def document(self) -> dict[str, Any]:
        """The whole task, with its attempts: the JSON document of `GET /tasks/{id}`."""
        task, history = self._service.task(self.task_id)
        acts = self._service.call(self._service.tracker.read(TaskActs(self.task_id)))
        filled = self._service.bench.values.load(task)
        spec = self._service.all_handlers.require(task.task_type)
        shown = show(filled, spec.mask_for(operates=True))
        waiting_for, live = self._service.call(LiveView(self._service.tracker).look(task))
        text = task_json(
            shown, history, tracebacks=True, waiting_for=waiting_for, live=live, acts=acts
        )
        document: dict[str, Any] = from_json(text)
        return document

    @property
    def state(self) -> State:
        """The present state of the task."""
        return self._service.task(self.task_id)[0].state

    @property
    def result(self) -> Any:
        """The result of the handler; None unless the task is COMPLETED."""
        return self.document["result"]

    @property
    def error(self) -> dict[str, Any] | None:
        """The error of the last attempt, `{type, message, retryable, traceback}`, or None."""
        return self.document["error"]  # type: ignore[no-any-return]

    @property
    def attempts(self) -> list[dict[str, Any]]:
        """The attempts so far, as the API shows them."""
        return self.document["attempts"]  # type: ignore[no-any-return]

    def cancel(self) -> None:
        """Cancel the task. If its handler calls this, the context reports it at once.

        Raises `StateConflict`.
        """
        self._service.call(self._service.tracker.execute(CancelTask(self.task_id, by=_BY)))

    def retry(self, **changes: Any) -> None:
        """Run the FAILED or CANCELLED task again, maybe with `changes`; see `update`.

        Raises `StateConflict`, `InvalidSubmission`.
        """
        if not changes:
            self._service.call(self._service.tracker.execute(RetryTask(self.task_id, by=_BY)))
            return
        checked = self._service.checked_changes(self.task_id, changes)
        self._service.change(
            self.task_id, checked, lambda sent: RetryTask(self.task_id, by=_BY, changes=sent)
        )

    def update(self, **changes: Any) -> None:
        """Change the waiting task: its `priority`, `payload`, `tags`, `delay_seconds` and so on.

        They are those of `PATCH /tasks/{id}`. Raises `StateConflict`, `InvalidSubmission`.
        """
        checked = self._service.checked_changes(self.task_id, changes)
        revision = self._service.task(self.task_id)[0].revision
        self._service.change(
            self.task_id, checked, lambda sent: ChangeTask(self.task_id, revision, sent, by=_BY)
        )

    def delete(self) -> None:
        """Delete the task, which must have ended. Raises `StateConflict`."""
        self._service.call(self._service.tracker.execute(DeleteTask(self.task_id, by=_BY)))

    def lose(self, times: int = 1, *, after_checkpoints: int = 0) -> None:
        """Let the process die in the next `times` attempts of this task.

        It dies before the handler is called, or right after `after_checkpoints` checkpoints of the
        attempt.
        """
        self._service.losses[self.task_id] += [after_checkpoints] * times
