"""The simulation's own record: tasks as they are stored, and what has happened."""

from collections import Counter, defaultdict
from typing import NamedTuple

from raytasks.model.changes import TaskChanges
from raytasks.model.tasks import NewTask
from raytasks.protocol.messages import Outcome

WAITING = ("PENDING", "RETRYING")
FINAL = ("COMPLETED", "FAILED", "CANCELLED")
LOST = ("lost", "out_of_memory")


class Row(NamedTuple):
    """A task as stored."""

    task_id: str
    task_type: str
    state: str
    payload: str
    result: str | None
    error: str | None
    checkpoint: str | None
    priority: int
    ready: int
    attempt: int
    max_attempts: int
    failures: int
    crashes: int
    cancel_requested: int
    runner_id: str | None
    run_at: float
    finished_at: float | None
    idempotency_key: str | None
    namespace: str
    revision: int
    created_at: float
    company: int | None


class Ended(NamedTuple):
    """An attempt of the history."""

    task_id: str
    attempt: int
    outcome: str
    runner_id: str
    late_outcome: str | None
    state: str
    revision: int


class Sweep(NamedTuple):
    """A bulk deletion that somebody has asked for. Without states: of all that have ended."""

    bulk_id: str
    namespace: str
    task_type: str | None
    states: set[str]

    def may_take(self, task_id: str, namespace: str, task_type: str) -> bool:
        """Return whether it may take such a task, once that has ended."""
        is_of_type = task_type == (self.task_type or task_type) and (
            self.task_type is not None or not task_type.startswith("raytasks.")
        )
        return task_id < self.bulk_id and namespace == self.namespace and is_of_type

    def takes(self, row: Row) -> bool:
        """Return whether it takes a task as it is."""
        is_meant = self.may_take(row.task_id, row.namespace, row.task_type)
        return is_meant and row.state in (self.states or FINAL)


TASK_COLUMNS = ", ".join(Row._fields)
ATTEMPT_COLUMNS = ", ".join(Ended._fields)


class Account:
    """The record of what happened, as the world has seen it."""

    def __init__(self) -> None:
        self.submitted: dict[str, NewTask] = {}
        self.accepted: set[str] = set()
        self.pruned: set[str] = set()
        """The tasks that were pruned, in due time."""
        self.begun: dict[tuple[str, int], str] = {}
        """The runner in which each attempt has begun."""
        self.said: dict[tuple[str, int], tuple[str, Outcome]] = {}
        """The outcome that a runner (by its id) reported of each attempt."""
        self.lines: dict[tuple[str, int], int] = {}
        """How many lines each attempt had logged when it ended."""
        self.checkpoints: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
        """The checkpoints of each task that runners have said, with the attempt."""
        self.retries: Counter[str] = Counter()
        """How often a person may have retried each task."""
        self.bulk_retries: Counter[str] = Counter()
        """How many bulk operations may have retried tasks of each namespace."""
        self.changes: defaultdict[tuple[str, int], list[TaskChanges]] = defaultdict(list)
        """The changes of each task that somebody may have made, by the revision before."""
        self.replaced_at: dict[str, float] = {}
        """When each task was replaced that was, by the clock of that tick, since its last retry."""
        self.replaced_from: set[tuple[str, int]] = set()
        """The tasks that were replaced, with the revision that they had before."""
        self.deletes: set[str] = set()
        """The tasks that somebody may have deleted, one by one."""
        self.sweeps: dict[str, Sweep] = {}
        """The deletions in bulk, by the id of the operation."""
        self.cancels: set[str] = set()
        """The tasks that somebody may have cancelled."""
        self.bulk_cancels: Counter[str] = Counter()
        self.told_of_cancel: set[tuple[str, int]] = set()
        """The attempts whose task was cancelled while they ran, as somebody was told."""
        self.paused = False
        """Whether a pause was answered and nothing was said since that ends it."""
        self.pruning_after: float | None = None
        self.refused: set[str] = set()
        """The tasks that came by the outbox, and cannot be done."""
        self.has_rivals = False
        """Whether some tasks have unique keys."""
        self.handed: set[tuple[str, int]] = set()
        """The attempts that were in an answer to a runner, whether it arrived or not."""

    def space_of(self, task_id: str) -> str:
        """Return the namespace of a task that was submitted."""
        return self.submitted[task_id].namespace

    def may_be_deleted(self, task_id: str) -> bool:
        """Return whether somebody may have deleted a task, one by one or in bulk."""
        if task_id in self.deletes:
            return True
        task = self.submitted[task_id]
        place = (task_id, task.namespace, task.task_type)
        return any(sweep.may_take(*place) for sweep in self.sweeps.values())
