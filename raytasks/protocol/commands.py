"""The commands of people: each is data, and says what its answer is, as a query does.

New tasks are no such command: they have a message, and a way, of their own.
"""

from typing import Generic, TypeVar

from msgspec import Struct

from raytasks.model.bulk_operations import BulkOperation, NewBulk
from raytasks.model.tasks import Task

Answer = TypeVar("Answer")
Given = TypeVar("Given", covariant=True)


class Command(Struct, Generic[Given], frozen=True, tag=True):
    """A change that somebody asks for. Its type parameter is the type of its answer."""


class CancelTask(Command[Task], frozen=True):
    """Cancel a task: one that waits ends at once, one that runs is told to stop.

    A task that is not in `namespace` does not exist for whoever asks; None: any. Answered with
    `TaskNotFound`, or with `StateConflict` for a task that has ended.
    """

    task_id: str
    namespace: str | None = None


class RetryTask(Command[Task], frozen=True):
    """Run a FAILED or CANCELLED task again, with a fresh budget of attempts.

    The namespace is as in `CancelTask`. Answered with `TaskNotFound`, or with `StateConflict` for a
    task in any other state.
    """

    task_id: str
    namespace: str | None = None


class StartBulk(Command[tuple[BulkOperation, bool]], frozen=True):
    """Begin a bulk operation. The answer has it as it is on disk, and whether it is a new one.

    Answered with `KeyConflict` where its key is that of another operation, or with `BacklogFull`.
    """

    new: NewBulk


AnyCommand = CancelTask | RetryTask | StartBulk
