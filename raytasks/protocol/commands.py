"""The commands of people: each is data and declares the type of its answer, as a query does.

Each says who gives it: the name of the API key, or another name (see `raytasks.model.acts`).

The submission of tasks is no such command: it has its own message and its own path.
"""

from typing import Generic, TypeVar

from msgspec import Struct

from raytasks.model.acts import UNKNOWN
from raytasks.model.bulk_operations import BulkOperation, NewBulk
from raytasks.model.changes import TaskChanges
from raytasks.model.schedule_specs import ScheduleRow, ScheduleSpec
from raytasks.model.steering import LimitSetting, NamespaceSetting, Pause, PoolSetting
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

    Some of its fields may change with it. The namespace is as in `CancelTask`. With its `revision`
    (None: any), the same call may come twice: the second is answered like the first, and retries
    nothing. The call raises `TaskNotFound`, `StateConflict` for a task in any other state, or
    `RevisionConflict` for one of another revision.
    """

    task_id: str
    namespace: str | None = None
    by: str = UNKNOWN
    changes: TaskChanges | None = None
    revision: int | None = None


class ChangeTask(Command[Task], frozen=True):
    """Change fields of a task that waits, if `revision` is its revision.

    The same call may come twice: the second is answered like the first. The namespace is as in
    `CancelTask`. The call raises `TaskNotFound`, `StateConflict` for a task that does not wait, or
    `RevisionConflict` for one of another revision.
    """

    task_id: str
    revision: int
    changes: TaskChanges
    namespace: str | None = None
    by: str = UNKNOWN


class DeleteTask(Command[Task], frozen=True):
    """Delete a task that has ended. The answer is the task as it was.

    The namespace is as in `CancelTask`. The call raises `TaskNotFound`, or `StateConflict` for a
    task that has not ended.
    """

    task_id: str
    namespace: str | None = None
    by: str = UNKNOWN


class StartBulk(Command[tuple[BulkOperation, bool]], frozen=True):
    """Begin a bulk operation. The answer is the stored operation, and whether it is a new one.

    The call raises `KeyConflict` if another operation has its key, or `BacklogFull`.
    """

    new: NewBulk


class SetLimit(Command[LimitSetting], frozen=True):
    """Set the bounds of a limit, in place of the declared ones. See `Limit`."""

    name: str
    running: int | None
    rate: float | None
    per_seconds: float
    burst: int | None
    by: str = UNKNOWN


class ClearLimit(Command[bool], frozen=True):
    """Let a limit's declared bounds hold again. The answer is whether others were set."""

    name: str
    by: str = UNKNOWN


class SetPool(Command[PoolSetting], frozen=True):
    """Set the fewest and the most runners of a pool, in place of the declared ones."""

    name: str
    least: int
    most: int
    by: str = UNKNOWN


class ClearPool(Command[bool], frozen=True):
    """Let a pool's declared sizes hold again. The answer is whether others were set."""

    name: str
    by: str = UNKNOWN


class SetNamespace(Command[NamespaceSetting], frozen=True):
    """Set the share of a namespace, and how many of its tasks may wait; None: no bound."""

    namespace: str
    weight: float
    max_backlog: int | None
    by: str = UNKNOWN


class ClearNamespace(Command[bool], frozen=True):
    """Give a namespace the usual share, without a bound. The answer is whether it had others."""

    namespace: str
    by: str = UNKNOWN


class PauseWork(Command[Pause], frozen=True):
    """Claim no tasks of a namespace and type; without one, of all of them.

    The pause ends after `seconds`, or when a person ends it. A later one replaces it. A `drain` is
    ended by a deployment as well; it leaves a person's pause without an end as it is. On return no
    such claim is on its way.
    """

    namespace: str = ""
    task_type: str = ""
    seconds: float | None = None
    by: str = UNKNOWN
    drain: bool = False


class ResumeWork(Command[Pause | None], frozen=True):
    """End the pause of exactly this namespace and type. The answer is that pause, if there was one.

    With `only_drain` it ends no other pause than that of a drain.
    """

    namespace: str = ""
    task_type: str = ""
    by: str = UNKNOWN
    only_drain: bool = False


class SetSchedule(Command[ScheduleRow], frozen=True):
    """Set a schedule, in place of a declared one of the same name, or a new one.

    The call raises `StateConflict` if there are too many, and `TimesRefused` if the tracker
    cannot compute its times.
    """

    namespace: str
    name: str
    spec: ScheduleSpec
    by: str = UNKNOWN


class ClearSchedule(Command[ScheduleRow | None], frozen=True):
    """Let a schedule's declaration hold again; without one, the schedule ends.

    The answer is the schedule as it is then, or None. The call raises `StateConflict` if the
    tracker cannot compute the declared times.
    """

    namespace: str
    name: str
    by: str = UNKNOWN


class PauseSchedule(Command[ScheduleRow | None], frozen=True):
    """Let a schedule's times pass without tasks until `ResumeSchedule`. None: it is unknown."""

    namespace: str
    name: str
    by: str = UNKNOWN


class ResumeSchedule(Command[ScheduleRow | None], frozen=True):
    """End the pause of a schedule. What its times were meanwhile gets no task.

    The answer is None if there is no such schedule. The call raises `StateConflict` if the tracker
    cannot compute its times.
    """

    namespace: str
    name: str
    by: str = UNKNOWN


class RunSchedule(Command[str | None], frozen=True):
    """Submit a task of a schedule now, even if it is paused. Its times do not change.

    The task gets the id `task_id`, so that a repeated command makes no other one. The answer is
    the id, or None if there is no such schedule. A replica before 0.6 gives no id.
    """

    namespace: str
    name: str
    by: str = UNKNOWN
    task_id: str = ""


class NudgeOutbox(Command[None], frozen=True):
    """Look into the outbox at once: somebody has committed a task there, or is about to.

    It may get lost: the outbox is looked at each second anyway.
    """


ScheduleCommand = SetSchedule | ClearSchedule | PauseSchedule | ResumeSchedule | RunSchedule
"""The commands about schedules. See `raytasks.model.schedule_specs`."""

SteeringCommand = (
    SetLimit
    | ClearLimit
    | SetPool
    | ClearPool
    | SetNamespace
    | ClearNamespace
    | PauseWork
    | ResumeWork
)
"""The commands that change what people set. See `raytasks.model.steering`."""

TaskCommand = CancelTask | RetryTask | ChangeTask | DeleteTask
"""The commands about one task."""

AnyCommand = TaskCommand | StartBulk | NudgeOutbox | ScheduleCommand | SteeringCommand
