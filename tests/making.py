"""Makers of the objects that tests of the store and the tracker need, with plain defaults."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from raytasks.model.bulk_operations import BulkAction, BulkFilter
from raytasks.model.changes import TaskChanges
from raytasks.model.lane_names import PLAIN_LANE
from raytasks.model.states import OutcomeKind, State
from raytasks.model.task_filter import TaskFilter
from raytasks.model.tasks import NewTask, RaytasksError, Running, Task
from raytasks.protocol.messages import Outcome
from raytasks.protocol.queries import TaskQuery, TasksById
from raytasks.store.lane_rows import LaneAsk, ReadyChange
from raytasks.store.schema import tasks
from raytasks.store.store import Store
from raytasks.tracker.acting import Target
from raytasks.tracker.claim_order import ClaimPlan, Question
from raytasks.tracker.sharing import CapacityRequest
from raytasks.tracker.tick import TickInput, TickResult, run_tick

NOW = 1_000_000.0
"""When a test begins, unless it says otherwise."""


def task_id(number: int) -> str:
    """Return the id of the `number`-th task: ids in order, as those of real tasks are."""
    return f"0198c1de-0000-7000-8000-{number:012x}"


def new_task(number: int, **changes: Any) -> NewTask:
    """Return a submission that is due at once."""
    values: dict[str, Any] = {
        "task_id": task_id(number),
        "task_type": "short",
        "payload": "{}",
        "priority": 0,
        "max_attempts": 3,
        "timeout_seconds": None,
        "run_at": NOW,
        "created_at": NOW,
    }
    return NewTask(**values | changes)


def outcome(
    running: Any, kind: OutcomeKind = OutcomeKind.SUCCEEDED, *, at: float = NOW, **changes: Any
) -> Outcome:
    """Return how a claimed attempt (a `Claim` or a `Running`) ended; it took no time."""
    values = {"started_at": at, "finished_at": at} | changes
    return Outcome(running.task_id, running.attempt, kind, **values)


def capacity_request(
    runner_id: str = "r1", *, capacity: int = 1000, **capacity_by_type: int
) -> CapacityRequest:
    """Return what a runner takes: so many of each type, however long they run."""
    return CapacityRequest(
        runner_id, capacity_by_type or {"short": 1000}, capacity, seconds=None, empty=False
    )


def lane_ask(
    limit: int,
    task_type: str = "short",
    lane: str = PLAIN_LANE,
    floor: float = -math.inf,
    *,
    looks_on: bool = False,
) -> LaneAsk:
    """Return the question for the first tasks of a lane."""
    return LaneAsk(task_type, lane, floor, limit, looks_on)


def bulk_filter(action: str, *, state: State | None = None, **asked: Any) -> BulkFilter:
    """Return the filter of a bulk operation."""
    states = () if state is None else (state,)
    return BulkFilter(BulkAction(action), TaskFilter(states=states, **asked))


def task_query(
    *, limit: int = 50, offset: int = 0, cursor: str | None = None, **asked: Any
) -> TaskQuery:
    """Return the query for a page of tasks, by the parts of its filter."""
    state = asked.pop("state", None)
    states = () if state is None else (state,)
    return TaskQuery(TaskFilter(**{"states": states, **asked}), limit, offset, cursor)


class Tracking:
    """The tracker's part, played by hand: ticks on a store, in one epoch, one clock."""

    def __init__(self, store: Store, *, now: float = NOW, max_crashes: int = 1) -> None:
        self.store = store
        self.now = now
        self.max_crashes = max_crashes
        self.epoch = store.begin_epoch(now)
        self.ready_changes: list[ReadyChange] = []

    def tick(self, *, by: str = "ops", **work: Any) -> TickResult:
        """Do one tick; who is to be cancelled, retried or deleted is named by the id alone."""
        for verb in {"cancels", "retries", "deletes"} & work.keys():
            work[verb] = [
                Target(name, by=by) if isinstance(name, str) else name for name in work[verb]
            ]
        if "requests" in work and "plan" not in work:
            work["plan"] = self.plan(work["requests"], work.get("submissions", ()))
        done = run_tick(self.store, TickInput(self.now, self.epoch, self.max_crashes, **work))
        self.ready_changes += done.ready_changes
        return done

    def submit(self, *numbers: int, **changes: Any) -> None:
        """Submit the tasks with these numbers, all alike."""
        self.tick(submissions=[new_task(number, **changes) for number in numbers])

    def change(
        self, number: int, revision: int, *, by: str = "ops", **values: Any
    ) -> Task | RaytasksError:
        """Change a task; return it, or the error that is the answer."""
        target = Target(task_id(number), by=by, changes=TaskChanges(**values), revision=revision)
        [answer] = self.tick(changes=[target]).acted.changed
        return answer

    def delete(self, number: int) -> Task | RaytasksError:
        """Delete a task; return what it was, or the error that is the answer."""
        [answer] = self.tick(deletes=[task_id(number)]).acted.deleted
        return answer

    def lane_asks(self, *task_types: str, limit: int = 100) -> list[LaneAsk]:
        """Return the questions for the first tasks of all lanes of some types."""
        return [
            LaneAsk(row.task_type, row.lane, row.rank, limit)
            for row in self.store.lanes()
            if row.task_type in task_types
        ]

    def claim(
        self, runner_id: str = "r1", *, capacity: int = 1000, **capacity_by_type: int
    ) -> list[Running]:
        """Claim what is due, at most `capacity`."""
        request = capacity_request(runner_id, capacity=capacity, **capacity_by_type)
        done = self.tick(requests=[request])
        return [running for running, _ in done.claimed]

    def plan(
        self, requests: Sequence[CapacityRequest], submissions: Sequence[NewTask] = ()
    ) -> ClaimPlan:
        """Return a plan that asks every lane for as much as these runners take, best rank first."""
        with self.store.transaction(now=self.now) as transaction:
            rows = transaction.connection.execute(
                select(tasks.c.task_type, tasks.c.lane).distinct()
            )
            lanes = {(row.task_type, row.lane) for row in rows}
        lanes |= {(task.task_type, task.lane) for task in submissions}
        plan = ClaimPlan()
        for name, lane in sorted(lanes):
            most = sum(request.most(name, 0.0) for request in requests)
            if most:
                plan.questions.append(Question(name, lane, -math.inf, most, queue=0))
        return plan

    def settle(self, running: Running, kind: OutcomeKind, **changes: Any) -> TickResult:
        """End an attempt."""
        return self.tick(outcomes=[(running, outcome(running, kind, at=self.now, **changes))])

    def task(self, number: int) -> Task:
        """Return a task as it is stored."""
        return self.store.read(TasksById([task_id(number)]))[task_id(number)]

    def state(self, number: int) -> State:
        """Return a task's state."""
        return self.task(number).state


def ids(numbers: Iterable[int]) -> list[str]:
    """Return the ids of these tasks."""
    return [task_id(number) for number in numbers]


def counted(counts: Mapping[Any, int]) -> dict[tuple[str, State], int]:
    """Return the counts that are not zero, by task type and state, of all namespaces."""
    found: Counter[tuple[str, State]] = Counter()
    for (*_, task_type, state), number in counts.items():
        found[task_type, state] += number
    return {key: number for key, number in found.items() if number}
