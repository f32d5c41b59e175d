"""The events of a task: what a stream of them is made of, and how it is asked for.

Times are seconds since the epoch, in UTC.
"""

from collections.abc import Sequence

from msgspec import Struct

from raytasks.model.states import OutcomeKind, State
from raytasks.model.tasks import DEFAULT_NAMESPACE

EventId = tuple[int, int]
"""The place of an event among those of its task: revision, and number of a log line (else 0)."""


class StateEntry(Struct, frozen=True, omit_defaults=True, tag="state"):
    """A change of state. `outcome` and `error` are those of the attempt that ended with it.

    `error` is the type and the message. `at` is None where nobody has kept it.
    """

    revision: int
    state: State
    attempt: int
    at: float | None
    outcome: OutcomeKind | None = None
    error: tuple[str, str] | None = None

    @property
    def id(self) -> EventId:
        """The event's place."""
        return self.revision, 0


class LogLine(Struct, frozen=True, omit_defaults=True, gc=False):
    """A line that a handler has logged. Those of an attempt are numbered from 1."""

    number: int
    at: float
    level: str
    message: str


class LogEntry(Struct, frozen=True, omit_defaults=True, tag="log"):
    """A line that a handler has logged. `revision` is that of its attempt's beginning."""

    revision: int
    number: int
    attempt: int
    level: str
    message: str
    at: float

    @property
    def id(self) -> EventId:
        """The event's place."""
        return self.revision, self.number


Event = StateEntry | LogEntry


class TaskProgress(Struct, frozen=True, omit_defaults=True):
    """How far an attempt has come."""

    attempt: int
    fraction: float | None
    message: str | None


class EventQuery(Struct, frozen=True, omit_defaults=True):
    """The events of a task after a place; None: from the beginning."""

    task_id: str
    after: EventId | None = None
    namespace: str = DEFAULT_NAMESPACE


class EventPage(Struct, frozen=True, omit_defaults=True):
    """Events of a task, in order, and how the task is now. With `more`, others follow at once."""

    task_id: str
    task_type: str
    namespace: str
    state: State
    events: Sequence[Event]
    more: bool
    progress: TaskProgress | None
