"""The events of a task: the parts of an event stream, and the query for them.

Times are in seconds since the epoch (UTC).
"""

from collections.abc import Sequence

from msgspec import Struct

from raytasks.model.acts import ActionName
from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import DEFAULT_NAMESPACE

EventId = tuple[int, int]
"""The place of an event among those of its task: its revision, and its log line's number or 0."""


class StateEntry(Struct, frozen=True, omit_defaults=True, tag="state"):
    """A change of state. `outcome` and `error` are those of the attempt that ended with it.

    The error is its type and its message. The time `at` is None if it is not known. If a person
    made the change, `by` and `action` say who, and how.
    """

    revision: int
    state: State
    attempt: int
    at: float | None
    outcome: OutcomeKind | None = None
    error: tuple[str, str] | None = None
    by: str | None = None
    action: ActionName | None = None

    @property
    def id(self) -> EventId:
        """The place of the event."""
        return self.revision, 0


class LogLine(Struct, frozen=True, omit_defaults=True, gc=False):
    """A line that a handler has logged. The lines of an attempt are numbered from 1."""

    number: int
    at: float
    level: str
    message: str


class LogEntry(Struct, frozen=True, omit_defaults=True, tag="log"):
    """The event of a log line. `revision` is that of its attempt's beginning."""

    revision: int
    number: int
    attempt: int
    level: str
    message: str
    at: float

    @property
    def id(self) -> EventId:
        """The place of the event."""
        return self.revision, self.number


Event = StateEntry | LogEntry


class TaskProgress(Struct, frozen=True, omit_defaults=True):
    """The progress of an attempt."""

    attempt: int
    fraction: float | None
    message: str | None


class EventQuery(Struct, frozen=True, omit_defaults=True):
    """The query for a task's events after a place; None: from the beginning."""

    task_id: str
    after: EventId | None = None
    namespace: str = DEFAULT_NAMESPACE


class EventPage(Struct, frozen=True, omit_defaults=True):
    """Events of a task, in order, and its present state. With `more`, others can be had at once."""

    task_id: str
    task_type: str
    namespace: str
    state: State
    events: Sequence[Event]
    more: bool
    progress: TaskProgress | None
