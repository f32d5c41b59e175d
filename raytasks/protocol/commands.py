"""The commands of people: each is data and declares the type of its answer, as a query does.

Each says who gives it: the name of the API key, or another name (see `raytasks.model.acts`).

The submission of tasks is no such command: it has its own message and its own path.
"""

from typing import Generic, TypeVar

from msgspec import Struct

from raytasks.model.acts import UNKNOWN
from raytasks.model.bulk_operations import BulkOperation, NewBulk
from raytasks.model.tasks import Task

Answer = TypeVar("Answer")
Given = TypeVar("Given", covariant=True)


class Command(Struct, Generic[Given], frozen=True, tag=True):
    """A change that somebody asks for. Its type parameter is the type of its answer."""


class CancelTask(Command[Task], frozen=True):
    """Cancel a task: one that waits ends at once, one that runs is told to stop.

    A task outside `namespace` counts as unknown; None allows any namespace. The call raises
    `TaskNotFound`, or `StateConflict` for a task that has ended. The `message` says why.
    """

    task_id: str
    namespace: str | None = None
    by: str = UNKNOWN
    message: str | None = None


class RetryTask(Command[Task], frozen=True):
    """Run a FAILED or CANCELLED task again, with a fresh budget of attempts.

    The namespace is as in `CancelTask`. The call raises `TaskNotFound`, or `StateConflict` for a
    task in any other state.
    """

    task_id: str
    namespace: str | None = None
    by: str = UNKNOWN


class StartBulk(Command[tuple[BulkOperation, bool]], frozen=True):
    """Begin a bulk operation. The answer is the stored operation, and whether it is a new one.

    The call raises `KeyConflict` if another operation has its key, or `BacklogFull`.
    """

    new: NewBulk


AnyCommand = CancelTask | RetryTask | StartBulk
