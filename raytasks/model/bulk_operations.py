"""Bulk operations: all tasks that a filter matches are retried, cancelled or deleted. Data only."""

from dataclasses import dataclass, field
from enum import StrEnum

from msgspec.structs import replace

from raytasks.model.acts import UNKNOWN, ActionName
from raytasks.model.states import FINAL, TRANSITIONS, WAITING, Event, State
from raytasks.model.task_filter import TaskFilter


class BulkAction(StrEnum):
    """The action of a bulk operation on each of its tasks."""

    RETRY = "retry"
    CANCEL = "cancel"
    DELETE = "delete"

    @property
    def act(self) -> ActionName:
        """The act of the person who begins such an operation."""
        return ActionName(f"bulk_{self.value}")

    @property
    def sources(self) -> tuple[State, ...]:
        """The states in which a task allows this action, in the order of `State`."""
        match self:
            case BulkAction.RETRY:
                sources = TRANSITIONS[Event.RETRY].sources
            case BulkAction.CANCEL:  # one that runs is told to stop
                sources = WAITING | {State.RUNNING}
            case BulkAction.DELETE:
                sources = FINAL
        return tuple(state for state in State if state in sources)


@dataclass(frozen=True, slots=True)
class BulkFilter:
    """The action on tasks, and the filter for them. Without a state: all that allow the action."""

    action: BulkAction
    tasks: TaskFilter = field(default_factory=TaskFilter)

    def __post_init__(self) -> None:
        for state in self.tasks.states:
            if state not in self.action.sources:
                raise ValueError(f"{self.action} is not for {state} tasks")

    @property
    def namespace(self) -> str:
        """The namespace of the tasks."""
        return self.tasks.namespace

    @property
    def walked(self) -> TaskFilter:
        """The filter for the tasks, with the states that allow the action."""
        return replace(self.tasks, states=self.states)

    @property
    def states(self) -> tuple[State, ...]:
        """The states that the filter matches."""
        return self.tasks.states or self.action.sources


@dataclass(frozen=True, slots=True)
class NewBulk:
    """A request for a bulk operation.

    Its id is a UUID of version 7, as those of tasks are. Only tasks with a smaller id, which are
    older, are changed. Of all requests with one `idempotency_key` in a namespace only the first is
    made. It is begun `by` a person.
    """

    bulk_id: str
    filter: BulkFilter
    created_at: float
    idempotency_key: str | None = None
    by: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class BulkOperation:
    """A bulk operation as stored. It goes from the newest task to the oldest.

    - `cursor`: the id of the last task looked at.
    - `matched`: how many tasks the filter matched when the operation was made; None if there were
      too many to count.
    - `by`: who has begun it.
    - `skipped`: how many tasks a retry has left as they are, as others hold their unique keys.
    - `held_by`: `backlog_full` or `namespace_full` while a retry waits for room in the backlog of
      the service or of its namespace, else None. Not stored.
    """

    bulk_id: str
    filter: BulkFilter
    cursor: str
    matched: int | None
    looked_at: int
    changed: int
    created_at: float
    finished_at: float | None = None
    held_by: str | None = None
    by: str = UNKNOWN
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class TaskHead:
    """The fields of a task that a change of its state needs."""

    task_id: str
    task_type: str
    state: State
    attempt: int
    priority: int
    cancel_requested: bool
    unique_spec: str | None
    namespace: str
    revision: int
    tags: str | None
    callback_url: str | None
