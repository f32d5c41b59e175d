"""Which sequences of outcomes a task may have, by the table and by `verdict` in `model.states`.

The history does not say when a cancel or a person's retry took effect, nor which lost attempts were
charged. So all ways that may have led this far are followed at once. A sequence is legal if one is
left at its end.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from raytasks.model.states import TRANSITIONS, Event, OutcomeKind, Standing, State, verdict
from raytasks.model.tasks import Task


@dataclass(frozen=True)
class Way:
    """Where a task may be between two attempts, and what it took from its budgets."""

    state: State = TRANSITIONS[Event.SUBMIT].target
    failures: int = 0
    crashes: int = 0
    retries: int = 0


@dataclass(frozen=True)
class Asked:
    """Requests from outside: whether a cancel, and at most how many retries."""

    cancel: bool = False
    retries: int = 0


@dataclass(frozen=True)
class Tried:
    """An attempt that has ended, as far as it matters here."""

    outcome: OutcomeKind
    retryable: bool = False


def fault_in_sequence(
    task: Task, tried: Sequence[Tried], asked: Asked, max_crashes: int
) -> str | None:
    """Return what is illegal in how a final task came to its end, or None."""
    ways = _persons_moves({Way()}, asked)
    for number, attempt in enumerate(tried, start=1):
        after = _persons_moves(_settled(ways, attempt, task, asked, max_crashes), asked)
        if not after:
            before = "|".join(sorted({way.state for way in ways}))
            return f"attempt {number} {attempt.outcome}, but its task was {before} already"
        ways = after
    end = (task.state, task.failures, task.crashes)
    if end in {(way.state, way.failures, way.crashes) for way in ways}:
        return None
    legal = sorted(f"{way.state}/{way.failures}/{way.crashes}" for way in ways)
    outcomes = ", ".join(attempt.outcome for attempt in tried) or "no attempt"
    return (
        f"after {outcomes} it is {'/'.join(map(str, end))} (state/failures/crashes), "
        f"not {' or '.join(legal)}"
    )


def _persons_moves(ways: Iterable[Way], asked: Asked) -> set[Way]:
    """Add where cancels of waiting tasks, and retries, may have brought the task."""
    found: set[Way] = set()
    new = set(ways)
    while new:
        found |= new
        new = {moved for way in new for moved in _moved(way, asked)} - found
    return found


def _moved(way: Way, asked: Asked) -> Iterable[Way]:
    if asked.cancel and way.state in TRANSITIONS[Event.CANCEL].sources:
        yield replace(way, state=TRANSITIONS[Event.CANCEL].target)
    if way.retries < asked.retries and way.state in TRANSITIONS[Event.RETRY].sources:
        yield Way(TRANSITIONS[Event.RETRY].target, retries=way.retries + 1)


def _settled(
    ways: Iterable[Way], attempt: Tried, task: Task, asked: Asked, max_crashes: int
) -> set[Way]:
    """Claim the task, and end the attempt: on each way from which it can be claimed."""
    return {
        replace(
            way,
            state=TRANSITIONS[event].target,
            failures=way.failures + (event in (Event.FAIL_AND_RETRY, Event.FAIL_FOR_GOOD)),
            crashes=way.crashes + (charged and event in (Event.LOSE, Event.POISON)),
        )
        for way in ways
        if way.state in TRANSITIONS[Event.CLAIM].sources
        for event, charged in _events(way, attempt, task, asked, max_crashes)
    }


def _events(
    way: Way, attempt: Tried, task: Task, asked: Asked, max_crashes: int
) -> Iterable[tuple[Event, bool]]:
    """Return what the outcome may have meant, and whether it was charged as a crash."""
    for cancel_requested, charged in itertools.product({False, asked.cancel}, (True, False)):
        standing = Standing(
            failures=way.failures,
            max_attempts=task.max_attempts,
            crashes=way.crashes,
            max_crashes=max_crashes,
            cancel_requested=cancel_requested,
        )
        yield (
            verdict(attempt.outcome, standing, retryable=attempt.retryable, charged=charged),
            charged,
        )
