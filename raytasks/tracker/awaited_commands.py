"""The commands whose callers wait until a tick has done them, each with the place of its answer."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal

from raytasks.model.acts import UNKNOWN
from raytasks.model.changes import TaskChanges
from raytasks.model.tasks import NewTask, RaytasksError
from raytasks.tracker.acting import Target
from raytasks.tracker.outbox_intake import OutboxEntry

Verb = Literal["cancel", "retry", "change", "delete"]
"""The kind of an act on a task."""


def _future() -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().create_future()


@dataclass(eq=False)
class Submission:
    """Tasks that one caller submits together.

    A submission that is `expired` was refused, as the database took too long. The same holds for
    other commands.
    """

    tasks: tuple[NewTask, ...]
    answer: "asyncio.Future[Any]" = field(default_factory=_future)
    expired: bool = False


@dataclass(eq=False)
class Action:
    """An act on a task asked for by a person.

    A cancel or a retry is answered with the task before and after it. A change is answered with the
    task after it, a deletion with the task before. For the other fields see `Target`.
    """

    verb: Verb
    task_id: str
    namespace: str | None = None
    by: str = UNKNOWN
    message: str | None = None
    changes: TaskChanges | None = None
    revision: int | None = None
    answer: "asyncio.Future[Any]" = field(default_factory=_future)
    expired: bool = False

    @property
    def target(self) -> Target:
        """The task, and who acts on it."""
        return Target(
            self.task_id, self.namespace, self.by, self.message, self.changes, self.revision
        )


@dataclass(eq=False)
class Pruning:
    """Tasks to be deleted, if they ended before `before` (seconds since the epoch)."""

    task_ids: tuple[str, ...]
    before: float
    answer: "asyncio.Future[Any]" = field(default_factory=_future)
    expired: bool = False


class RowRefused(RaytasksError):
    """The tick of one row of the outbox, or of some, fails with the `error` by itself.

    If it is `doubtful`, the error does not say whether they are at fault.
    """

    def __init__(self, error: Exception, *, doubtful: bool = False) -> None:
        super().__init__(f"cannot be stored: {type(error).__name__}")
        self.error = error
        self.doubtful = doubtful


@dataclass(eq=False)
class Handing:
    """A row of the outbox that is handed in: it is deleted in the tick that stores its task.

    The answer is whether it is gone; it is not if others have locked it.
    """

    entry: OutboxEntry
    answer: "asyncio.Future[Any]" = field(default_factory=_future)
    expired: bool = False


def answer_with(action: Action, result: object) -> None:
    """Answer an act with its result, or with the error that it is."""
    if action.answer.done():
        return
    if isinstance(result, Exception):
        action.answer.set_exception(result)
    else:
        action.answer.set_result(result)
