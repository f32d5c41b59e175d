"""The history of a task as events, rebuilt from what the database keeps of it."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from msgspec.structs import replace

from raytasks.model.acts import ActionName, TaskAct
from raytasks.model.states import WAITING, OutcomeKind, State
from raytasks.model.task_events import Event, EventId, LogEntry, LogLine, StateEntry

_TARGETS: Mapping[ActionName, Container[State]] = {
    ActionName.CANCEL: {State.CANCELLED},
    ActionName.RETRY: {State.PENDING},
    ActionName.REPLACE: {State.PENDING},
    ActionName.CHANGE: WAITING,
}

BEFORE_ALL: EventId = (-1, 0)
"""The event id before all events."""


@dataclass(frozen=True, slots=True)
class TaskNow:
    """The present state of a task. It began at `changed_at` (seconds since the epoch)."""

    state: State
    attempt: int
    revision: int
    created_at: float
    changed_at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that has ended: it began with the change before `revision`."""

    attempt: int
    revision: int
    state: State
    started_at: float
    finished_at: float
    outcome: OutcomeKind
    error: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """The stored facts of a task after an event: enough to rebuild all later events.

    The last attempt that had ended by then is `before`. The `lines` are the later ones, in order,
    by attempt. The `acts` of people are by the revision that they made, or led to.
    """

    task: TaskNow
    before: Ended | None
    attempts: Sequence[Ended]
    lines: Mapping[int, Sequence[LogLine]]
    acts: Mapping[int, TaskAct] = field(default_factory=dict)


def history(kept: Kept, after: EventId, limit: int) -> tuple[list[Event], bool]:
    """Return the events after an event, at most `limit`, and whether there are more."""
    later = (_with_act(event, kept) for event in _events(kept, after) if event.id > after)
    events = list(islice(later, limit + 1))
    return events[:limit], len(events) > limit


def _events(kept: Kept, after: EventId) -> Iterator[Event]:
    task, last = kept.task, kept.before
    for item in kept.attempts:
        began = item.revision - 1
        yield from _between(last, began, kept, item)
        yield StateEntry(began, State.RUNNING, item.attempt, item.started_at)
        yield from _logged(began, item.attempt, kept.lines.get(item.attempt, ()))
        yield StateEntry(
            item.revision, item.state, item.attempt, item.finished_at, item.outcome, item.error
        )
        last = item
    if last is not None and last.revision >= task.revision:
        return
    yield from _between(last, task.revision, kept, None)
    yield StateEntry(task.revision, task.state, task.attempt, task.changed_at)
    if task.state is State.RUNNING:
        known = after[1] if after[0] == task.revision else 0
        lines = kept.lines.get(task.attempt, ())
        yield from _logged(task.revision, task.attempt, _unbroken(lines, known))


def _with_act(event: Event, kept: Kept) -> Event:
    """Return an event with the person who made the change, if one did."""
    if not isinstance(event, StateEntry):
        return event
    act = kept.acts.get(event.revision)
    if act is None or event.state not in _TARGETS[act.action]:
        return event
    at = act.at if event.at is None else event.at
    return replace(event, at=at, by=act.by, action=act.action)


def _between(
    last: Ended | None, until: int, kept: Kept, following: Ended | None
) -> Iterator[StateEntry]:
    """Yield the changes after an attempt's end that have no row of their own.

    A person changes or cancels a waiting task, or retries a FAILED or CANCELLED one. Or a
    submission replaces what has never begun. They are unknown if attempts between this one and the
    `following` one are no longer kept.
    """
    if last is None and not until:
        return
    before = 0 if last is None else last.attempt
    trimmed = following is not None and following.attempt - before > 1
    if last is None and trimmed and until > 1:
        yield StateEntry(0, State.PENDING, 0, kept.task.created_at)
        return
    if last is None:
        attempt = kept.attempts[0].attempt - 1 if kept.attempts else kept.task.attempt
        attempt -= kept.task.state is State.RUNNING and not kept.attempts
        revision, state = 0, State.PENDING
        yield StateEntry(revision, state, attempt, kept.task.created_at)
    else:
        revision, state, attempt = last.revision, last.state, last.attempt
    while revision + 1 < until and not trimmed:
        revision += 1
        act = kept.acts.get(revision)
        if act is None or act.action not in (ActionName.CHANGE, ActionName.REPLACE):
            state = State.CANCELLED if state in WAITING else State.PENDING
        yield StateEntry(revision, state, attempt, None)


def _logged(revision: int, attempt: int, lines: Sequence[LogLine]) -> Iterator[LogEntry]:
    for line in lines:
        yield LogEntry(revision, line.number, attempt, line.level, line.message, line.at)


def _unbroken(lines: Sequence[LogLine], known: int) -> list[LogLine]:
    """Return the lines up to the first gap: a missing line is still to come.

    A reader that has seen a later line would never get the missing one.
    """
    return [line for place, line in enumerate(lines, known + 1) if line.number == place]
