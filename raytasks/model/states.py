"""The states of a task, and the one table of transitions between them.

The store's statements, the tests and the diagram in the documents are derived from `TRANSITIONS`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """The state of a task."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def final(self) -> bool:
        """Whether the task has ended: only a person can move it on from here."""
        return self in FINAL


WAITING = frozenset({State.PENDING, State.RETRYING})
FINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})


class OutcomeKind(StrEnum):
    """The kind of an attempt's outcome: how it ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SNOOZED = "snoozed"
    CANCELLED = "cancelled"
    RELEASED = "released"
    LOST = "lost"
    TIMED_OUT = "timed_out"
    OUT_OF_MEMORY = "out_of_memory"


class Event(StrEnum):
    """The event that moves a task from one state to the next."""

    SUBMIT = "submit"
    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL_AND_RETRY = "fail_and_retry"
    FAIL_FOR_GOOD = "fail_for_good"
    LOSE = "lose"
    POISON = "poison"
    SNOOZE = "snooze"
    RELEASE = "release"
    CANCEL = "cancel"
    EXPIRE = "expire"
    REFUSE = "refuse"
    STOP = "stop"
    RETRY = "retry"


@dataclass(frozen=True)
class Transition:
    """One row of the table: on its event, a task in one of `sources` goes to `target`.

    The sources are empty only for the event that creates the task.
    """

    sources: frozenset[State]
    target: State
    when: str


def _row(sources: frozenset[State] | set[State], target: State, when: str) -> Transition:
    return Transition(frozenset(sources), target, when)


_RUNNING = frozenset({State.RUNNING})

TRANSITIONS: Mapping[Event, Transition] = {
    Event.SUBMIT: _row(set(), State.PENDING, "accepted, due at run_at"),
    Event.CLAIM: _row(WAITING, State.RUNNING, "handed to a runner, attempt + 1"),
    Event.SUCCEED: _row(_RUNNING, State.COMPLETED, "the attempt succeeded"),
    Event.FAIL_AND_RETRY: _row(_RUNNING, State.RETRYING, "failed, may be retried"),
    Event.FAIL_FOR_GOOD: _row(_RUNNING, State.FAILED, "permanent error, or attempts used up"),
    Event.LOSE: _row(_RUNNING, State.RETRYING, "lost, crash budget left"),
    Event.POISON: _row(_RUNNING, State.FAILED, "lost, crash budget used up"),
    Event.SNOOZE: _row(_RUNNING, State.PENDING, "put off by its handler"),
    Event.RELEASE: _row(_RUNNING, State.PENDING, "given back by its runner"),
    Event.CANCEL: _row(WAITING, State.CANCELLED, "cancelled before it ran"),
    Event.EXPIRE: _row({State.PENDING}, State.CANCELLED, "expired before its first attempt"),
    Event.REFUSE: _row({State.PENDING}, State.FAILED, "came by the outbox, and cannot be done"),
    Event.STOP: _row(_RUNNING, State.CANCELLED, "stopped after a cancel"),
    Event.RETRY: _row({State.FAILED, State.CANCELLED}, State.PENDING, "retried by a person"),
}


@dataclass(frozen=True)
class Standing:
    """The facts about a task that decide, with the outcome, how an attempt is settled.

    The counts are those of the task's present budget. A retry by a person starts a fresh budget.
    """

    failures: int
    max_attempts: int
    crashes: int
    max_crashes: int
    cancel_requested: bool


CRASHES = frozenset({OutcomeKind.LOST, OutcomeKind.OUT_OF_MEMORY})
"""The outcomes of attempts whose process is gone, so that others report them."""


class LossCause(StrEnum):
    """The cause of the loss of a runner, with all that it held."""

    PROCESS = "process"  # its process died or froze: a handler may be the reason
    OUTSIDE = "outside"  # no handler is the reason: its node died, or we ended it


def verdict(
    kind: OutcomeKind, standing: Standing, *, retryable: bool, charged: bool = True
) -> Event:
    """Return the event that an attempt's outcome means for its task.

    The flag `retryable` matters only for attempts that failed or timed out. The flag `charged`
    matters only for lost ones: whether the loss counts against the task's budget of crashes. A
    cancel wins over everything but success: work that finished first is kept, and nothing else runs
    again.
    """
    if kind is OutcomeKind.SUCCEEDED:
        return Event.SUCCEED
    if standing.cancel_requested or kind is OutcomeKind.CANCELLED:
        return Event.STOP
    if kind in (OutcomeKind.FAILED, OutcomeKind.TIMED_OUT):
        budget_left = standing.failures + 1 < standing.max_attempts
        return Event.FAIL_AND_RETRY if retryable and budget_left else Event.FAIL_FOR_GOOD
    if kind in CRASHES:
        spared = not charged or standing.crashes < standing.max_crashes
        return Event.LOSE if spared else Event.POISON
    return Event.SNOOZE if kind is OutcomeKind.SNOOZED else Event.RELEASE


def mermaid() -> str:
    """Return the state diagram in Mermaid's language; the documents of 0.1 offer it."""
    lines = ["stateDiagram-v2"]
    for event, row in TRANSITIONS.items():
        sources = [state.value for state in State if state in row.sources] or ["[*]"]
        lines += [f"    {source} --> {row.target}: {event}" for source in sources]
    lines += [f"    {state} --> [*]" for state in State if state.final]
    return "\n".join(lines)
