"""The changes that a transaction makes in the counts of tasks, and in the totals.

A total only grows: it counts events, by namespace, task type and name. Pruning changes none. So
`submitted` + `retried` = all that `finished` + the tasks that are open, after every commit.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

from raytasks.model.states import CRASHES, FINAL, TRANSITIONS, Event, OutcomeKind, State
from raytasks.store.settlement import Settlement

Counted = tuple[str, str, State]
"""The key by which tasks are counted: namespace, task type and state."""

Total = tuple[str, str, str]
"""The key of a total: namespace, task type and name."""

SUBMITTED = "submitted"
RETRIED = "retried"  # by a person
EXPIRED = "expired"  # before they began; they are among those that finished as CANCELLED
CHARGED = "charged"  # lost attempts that count against their task's budget of crashes
LATE = "late"  # outcomes that were reported after their attempt was given up as lost
FINISHED = "finished."  # and the state
ATTEMPTS = "attempts."  # and the outcome; what succeeded is what became COMPLETED


class Kind(Protocol):
    """A task, as far as it is counted."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def task_type(self) -> str:
        """Its type."""


class CountChanges:
    """The changes of counts and totals, by their keys."""

    def __init__(self) -> None:
        self.counts: Counter[Counted] = Counter()
        self.totals: Counter[Total] = Counter()

    def submit(self, new: Iterable[Kind]) -> None:
        """Count new tasks."""
        target = TRANSITIONS[Event.SUBMIT].target
        submitted = Counter((task.namespace, task.task_type) for task in new)
        for (namespace, task_type), number in submitted.items():
            self.counts[namespace, task_type, target] += number
            self.totals[namespace, task_type, SUBMITTED] += number

    def move(self, task: Kind, source: State, event: Event) -> None:
        """Count a change of a task's state."""
        self.count(task.namespace, task.task_type, source, event, 1)

    def count(self, namespace: str, task_type: str, source: State, event: Event, n: int) -> None:
        """Count a change of state of `n` tasks."""
        target = TRANSITIONS[event].target
        self.counts[namespace, task_type, source] -= n
        self.counts[namespace, task_type, target] += n
        if target in FINAL:
            self.totals[namespace, task_type, f"{FINISHED}{target}"] += n
            if event is Event.EXPIRE:
                self.totals[namespace, task_type, EXPIRED] += n
        elif event is Event.RETRY:
            self.totals[namespace, task_type, RETRIED] += n

    def settle(self, settlements: Sequence[Settlement]) -> None:
        """Count the ends of attempts, and the changes of their tasks' state."""
        settled = Counter(
            (item.namespace, item.task_type, item.event, item.attempt.outcome, item.charged)
            for item in settlements
        )
        for (namespace, task_type, event, kind, charged), number in settled.items():
            self.count(namespace, task_type, State.RUNNING, event, number)
            if kind is not OutcomeKind.SUCCEEDED:
                self.totals[namespace, task_type, f"{ATTEMPTS}{kind}"] += number
            if charged and kind in CRASHES and event is not Event.STOP:
                self.totals[namespace, task_type, CHARGED] += number

    def note_late(self, tasks: Iterable[Kind]) -> None:
        """Count late outcomes of attempts of these tasks."""
        for task in tasks:
            self.totals[task.namespace, task.task_type, LATE] += 1

    def prune(self, namespace: str, task_type: str, state: State) -> None:
        """Count a deleted task. What it added to the totals stays."""
        self.counts[namespace, task_type, state] -= 1
