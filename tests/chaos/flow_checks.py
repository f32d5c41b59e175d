"""The checks of limits, rates and order, over the history that the database has.

The history has the times at which the tracker held an attempt: from its beginning until its end,
or until it was given up. An attempt whose runner is frozen may go on after that; such overlaps are
counted, not refused.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import from_json

from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import AttemptRecord, Task
from tests.chaos.kinds import BURST, LIMITED_RUNNING, RATE, Place

DELIVERY_SECONDS = 0.1
"""Seconds between the claim of an attempt, which takes its token, and its beginning."""


@dataclass(frozen=True)
class Excess:
    """More than a limit allows: what it is about, and what was found."""

    place: Place
    subject: str
    detail: str


def most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """Return how many of the spans (from, to) overlap at most; those that only touch do not."""
    edges = sorted([(end, -1) for _, end in spans] + [(start, 1) for start, _ in spans])
    running = most = 0
    for _, change in edges:
        running += change
        most = max(most, running)
    return most


def excess_of_rate(times: Sequence[float], rate: float, burst: int) -> tuple[float, int] | None:
    """Return a window that has too many of the times, as its seconds and their number; or None."""
    ordered = sorted(times)
    for first, start in enumerate(ordered):
        for number, end in enumerate(ordered[first:], start=1):
            if number > rate * (end - start + DELIVERY_SECONDS) + burst:
                return end - start, number
    return None


def check_flow(tasks: Sequence[Task], attempts: Sequence[AttemptRecord]) -> Iterator[Excess]:
    """Yield what is beyond the limits of the run's types."""
    held = _held(tasks, attempts)
    for group, known in sorted(held[Place.LIMITED].items()):
        spans = [(item.started_at, item.finished_at) for _, items in known for item in items]
        if (most := most_at_once(spans)) > LIMITED_RUNNING:
            yield Excess(Place.LIMITED, f"group {group}", f"{most} at a time")
    for group, known in sorted(held[Place.ORDERED].items()):
        yield from _check_order(group, known)
    rated = [item for known in held[Place.RATED].values() for _, items in known for item in items]
    begun = [item.started_at for item in rated if item.outcome is not OutcomeKind.RELEASED]
    if (found := excess_of_rate(begun, RATE, BURST)) is not None:
        yield Excess(Place.RATED, "rate", f"{found[1]} in {found[0]:.3f} s")


def overlaps_of_frozen(tasks: Sequence[Task], attempts: Sequence[AttemptRecord]) -> int:
    """Return how many groups had too many at a time only by attempts that had been given up."""
    beyond = 0
    for known in _held(tasks, attempts)[Place.LIMITED].values():
        spans = [
            (item.started_at, item.late_at or item.finished_at)
            for _, items in known
            for item in items
        ]
        beyond += most_at_once(spans) > LIMITED_RUNNING
    return beyond


_Known = Sequence[tuple[Task, Sequence[AttemptRecord]]]


def _held(
    tasks: Sequence[Task], attempts: Sequence[AttemptRecord]
) -> Mapping[str, Mapping[int, _Known]]:
    """Return the tasks with their attempts, by type and group."""
    by_task: defaultdict[str, list[AttemptRecord]] = defaultdict(list)
    for item in attempts:
        by_task[item.task_id].append(item)
    found: defaultdict[str, defaultdict[int, list[tuple[Task, Sequence[AttemptRecord]]]]]
    found = defaultdict(lambda: defaultdict(list))
    for task in tasks:
        group = from_json(task.payload).get("group", 0)
        found[task.task_type][group].append((task, by_task[task.task_id]))
    return found


def _check_order(group: int, known: _Known) -> Iterator[Excess]:
    """Each task begins after all that came before it have ended. Those of one tick may swap."""
    ended = 0.0
    last: list[tuple[Task, float]] = []
    for task, items in sorted(known, key=lambda pair: pair[0].created_at):
        if last and task.created_at > last[-1][0].created_at:
            ended = max([ended, *(end for _, end in last)])
            last = []
        begun = [item.started_at for item in items if item.outcome is not OutcomeKind.RELEASED]
        if begun and min(begun) < ended:
            detail = f"{task.task_id} began {ended - min(begun):.3f} s before another one ended"
            yield Excess(Place.ORDERED, f"group {group}", detail)
        last.append((task, max([item.finished_at for item in items], default=0.0)))
