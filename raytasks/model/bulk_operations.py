"""Bulk operations: a retry or a cancel of all tasks that a filter matches. Data only."""

from dataclasses import dataclass
from enum import StrEnum

from raytasks.model.states import TRANSITIONS, WAITING, Event, State
from raytasks.model.tasks import DEFAULT_NAMESPACE


class BulkAction(StrEnum):
    """What is done to each of the tasks."""

    RETRY = "retry"
    CANCEL = "cancel"

    @property
    def sources(self) -> tuple[State, ...]:
        """The states of tasks to which this can be done, in the order of `State`."""
        match self:
            case BulkAction.RETRY:
                sources = TRANSITIONS[Event.RETRY].sources
            case BulkAction.CANCEL:  # one that runs is told to stop
                sources = WAITING | {State.RUNNING}
        return tuple(state for state in State if state in sources)


@dataclass(frozen=True, slots=True)
class BulkFilter:
    """Which tasks of a namespace are meant. None: any; of the states, those that can be."""

    action: BulkAction
    state: State | None = None
    task_type: str | None = None
    tag: str | None = None
    namespace: str = DEFAULT_NAMESPACE

    def __post_init__(self) -> None:
        if self.state is not None and self.state not in self.action.sources:
            raise ValueError(f"{self.action} is not for {self.state} tasks")

    @property
    def states(self) -> tuple[State, ...]:
        """The states that are meant."""
        return self.action.sources if self.state is None else (self.state,)


@dataclass(frozen=True, slots=True)
class NewBulk:
    """A bulk operation that is asked for.

    Its id is a UUID of version 7, as those of tasks are: only tasks with a smaller id, which are
    older, are touched. Of all with one `idempotency_key` in a namespace only the first is made.
    """

    bulk_id: str
    filter: BulkFilter
    created_at: float
    idempotency_key: str | None = None


@dataclass(frozen=True, slots=True)
class BulkOperation:
    """A bulk operation as stored.

    `matched` is how many tasks the filter matched when it was made; None where there were too many
    to count. It goes from the newest task to the oldest: `cursor` is the last one looked at.
    `held_by` is `backlog_full` while a retry waits for that; it is not stored.
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


@dataclass(frozen=True, slots=True)
class TaskHead:
    """What a change of state needs to know of a task."""

    task_id: str
    task_type: str
    state: State
    attempt: int
    priority: int
    cancel_requested: bool
    namespace: str
    revision: int
    tags: str | None
