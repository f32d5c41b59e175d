"""The store against a small pure model: whatever happens, in whatever order, both agree."""

import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace
from sqlalchemy import select

from raytasks.model.bulk_operations import BulkAction, NewBulk
from raytasks.model.callbacks import CALLBACK_TYPE, callback_id
from raytasks.model.changes import TaskChanges
from raytasks.model.lane_names import lane_of
from raytasks.model.schedule_specs import ScheduleKey, ScheduleRow, ScheduleSpec
from raytasks.model.states import FINAL, TRANSITIONS, WAITING, OutcomeKind, State
from raytasks.model.tasks import (
    DEFAULT_NAMESPACE,
    Duplicate,
    RevisionConflict,
    Running,
    StateConflict,
    Task,
    TaskNotFound,
)
from raytasks.model.uniqueness import OnConflict, Unique, UniqueUntil, encode_unique
from raytasks.protocol.messages import Report
from raytasks.protocol.queries import BulkById, TasksById
from raytasks.store.lane_rows import LaneRow, PutOffRow
from raytasks.store.outbox_rows import task_outbox
from raytasks.store.schedule_rows import Firing
from raytasks.store.schema import (
    attempts,
    metadata,
    task_actions,
    task_logs,
    task_tags,
    tasks,
    unique_keys,
)
from raytasks.store.service_tables import tracker_epoch
from raytasks.store.store import Store
from raytasks.store.transaction import BETWEEN_SECONDS, FenceBroken, Superseded
from raytasks.tracker.acting import Target
from raytasks.tracker.bulk_turns import make, run_step
from raytasks.tracker.claim_order import ClaimPlan, Question
from raytasks.tracker.outbox_intake import OutboxEntry
from tests.lanes import KnownLanes
from tests.making import (
    NOW,
    Tracking,
    bulk_filter,
    capacity_request,
    counted,
    new_task,
    outcome,
    task_id,
)
from tests.metrics_check import check_identity

MAX_CRASHES = 1
PRIORITY_STEP = 60.0

TASK_TYPES = st.sampled_from(["short", "long"])
DELAYS = st.sampled_from([0.0, 30.0, 90.0])
KINDS = st.sampled_from([*OutcomeKind, OutcomeKind.FAILED, OutcomeKind.FAILED, OutcomeKind.LOST])
RETRYABLE = st.sampled_from([True, True, False])
COMPANIES = st.sampled_from([None, 1, 5])
VALUES = st.sampled_from([None, '{"k":1}', '{"k":2}'])
NUMBERS = st.integers(0, 10_000)
URLS = st.sampled_from([None, "https://example.com/hook"])

BEAT = ScheduleRow(
    DEFAULT_NAMESPACE, "beat", NOW + 10.0, NOW, ScheduleSpec("short", "{}", 3, every_seconds=10.0)
)
KEYS = st.sampled_from([None, None, "a", "b"])
LIVES = st.sampled_from([None, None, 60.0])

ALLOWED = {(source, row.target) for row in TRANSITIONS.values() for source in row.sources}


@dataclass
class ModelTask:
    """A task, as the model believes it to be."""

    task_id: str
    task_type: str
    priority: int
    max_attempts: int
    run_at: float
    rank: float
    ready: bool
    state: State = State.PENDING
    attempt: int = 0
    failures: int = 0
    crashes: int = 0
    cancel_requested: bool = False
    runner_id: str | None = None
    checkpoint: int | None = None
    company: int | None = None
    history: list[tuple[int, OutcomeKind]] = field(default_factory=list)
    lane: str = ""
    limit_values: str | None = None
    callback_url: str | None = None
    clock: Callable[[], float] = lambda: NOW
    ends: list[tuple[int, float]] = field(default_factory=list)
    unique: Unique | None = None
    expires_at: float | None = None
    expired: int = 0
    revision: int = field(default=0, init=False)

    def __setattr__(self, name: str, value: Any) -> None:
        """Count the changes of state; the one that makes the task has number 0."""
        if name == "state" and "state" in vars(self):
            self.revision += 1
            if value in FINAL:
                self.ends.append((self.revision, self.clock()))
        super().__setattr__(name, value)

    @property
    def callbacks(self) -> dict[str, float]:
        """The callbacks of its ends, and their times."""
        if self.callback_url is None:
            return {}
        return {callback_id(self.task_id, revision, at): at for revision, at in self.ends}

    def wait(self, state: State, run_at: float, now: float) -> None:
        """The task is to run again at `run_at`."""
        self.state = state
        self.run_at = run_at
        self.rank = run_at - self.priority * PRIORITY_STEP
        self.ready = run_at <= now

    def settle(
        self,
        kind: OutcomeKind,
        *,
        retryable: bool,
        delay: float,
        now: float,
        charged: bool,
        company: int | None,
    ) -> None:
        """The running attempt has ended. The rules are said here in other words than the code's."""
        self.history.append((self.attempt, kind))
        self.runner_id = None
        crashed = kind in (OutcomeKind.LOST, OutcomeKind.OUT_OF_MEMORY)
        stopped = self.cancel_requested or kind is OutcomeKind.CANCELLED
        if crashed:
            self.company = 1 if charged else company or self.company
        elif kind is not OutcomeKind.RELEASED:
            self.company = 1 if self.crashes else None
        if kind is OutcomeKind.SUCCEEDED:
            self.state = State.COMPLETED
        elif stopped:
            self.state = State.CANCELLED
        elif kind is OutcomeKind.SNOOZED:
            self.wait(State.PENDING, now + max(1.0, delay), now)
        elif kind is OutcomeKind.RELEASED:
            self.state, self.ready = State.PENDING, True
        elif crashed:
            self.crashes += int(charged)
            if self.crashes > MAX_CRASHES:
                self.state = State.FAILED
            else:
                self.wait(State.RETRYING, now, now)
        else:
            self.failures += 1
            if retryable and self.failures < self.max_attempts:
                self.wait(State.RETRYING, now + delay, now)
            else:
                self.state = State.FAILED


def counted_ends(task: ModelTask) -> Counter[tuple[str, str]]:
    """Return what the ends of a task's attempts have added to the totals."""
    ends = Counter(
        (
            task.task_type,
            "finished.COMPLETED" if kind is OutcomeKind.SUCCEEDED else f"attempts.{kind}",
        )
        for _, kind in task.history
    )
    if task.expired:
        ends[task.task_type, "expired"] = task.expired
    return ends


class StoreMachine(RuleBasedStateMachine):
    """Drives a store as trackers do, one after the other, and the model beside it."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.prepare()
        self.stores = [Store(self.url, priority_step=PRIORITY_STEP)]
        self.tracking = Tracking(self.stores[0], now=NOW, max_crashes=MAX_CRASHES)
        self.tasks: dict[str, ModelTask] = {}
        self.bulks = self.numbers = 0
        self.holders: dict[tuple[str, str], ModelTask] = {}
        self.reports = 0
        self.deleted: Counter[tuple[str, str]] = Counter()
        self.deleted_ids: list[str] = []
        self.deleted_callbacks: dict[str, float] = {}
        self.seen: dict[str, tuple[State, int]] = {}
        self.ended: list[Running] = []
        self.known_lanes = KnownLanes(self.tracking.store.lanes())
        self.beat = BEAT
        self.stores[0].write_schedules(self.tracking.epoch, [BEAT], [], [], NOW)

    def prepare(self) -> None:
        """Make `url` name a fresh database."""

    def teardown(self) -> None:
        for store in self.stores:
            store.close()

    def running(self) -> list[ModelTask]:
        return [task for task in self.tasks.values() if task.state is State.RUNNING]

    def pick(self, number: int) -> ModelTask:
        return list(self.tasks.values())[number % len(self.tasks)]

    def as_running(self, task: ModelTask) -> Running:
        return Running(
            task_id=task.task_id,
            task_type=task.task_type,
            attempt=task.attempt,
            runner_id=task.runner_id or "nobody",
            claimed_at=self.tracking.now,
            priority=task.priority,
            failures=task.failures,
            crashes=task.crashes,
            max_attempts=task.max_attempts,
            cancel_requested=task.cancel_requested,
            company=task.company,
            revision=task.revision,
            lane=task.lane,
            limit_values=task.limit_values,
            callback_url=task.callback_url,
            rank=task.rank,
            keyed=task.unique is not None,
        )

    def callbacks(self) -> dict[str, float]:
        present = {name: at for task in self.tasks.values() for name, at in task.callbacks.items()}
        return present | self.deleted_callbacks

    def holder(self, task_type: str, unique: Unique | None) -> ModelTask | None:
        """Return the open task that holds a key."""
        found = None if unique is None else self.holders.get((task_type, unique.key))
        return None if found is None or found.state in FINAL else found

    @rule(
        delays=st.lists(DELAYS, min_size=2, max_size=4),
        task_type=TASK_TYPES,
        priority=st.integers(-1, 2),
        max_attempts=st.integers(1, 3),
        value=VALUES,
        url=URLS,
        key=KEYS,
        until=st.sampled_from(UniqueUntil),
        on_conflict=st.sampled_from(OnConflict),
        life=LIVES,
    )
    def submit(
        self,
        delays: list[float],
        task_type: str,
        priority: int,
        max_attempts: int,
        value: str | None = None,
        url: str | None = None,
        key: str | None = None,
        until: UniqueUntil = UniqueUntil.FINISHED,
        on_conflict: OnConflict = OnConflict.RETURN,
        life: float | None = None,
    ) -> None:
        lane = lane_of(DEFAULT_NAMESPACE, value)
        now = self.tracking.now
        unique = None if key is None else Unique(key, until, on_conflict=on_conflict)
        expires_at = None if life is None else now + life
        submissions = [
            new_task(
                self.numbers + i, task_type=task_type, priority=priority,
                max_attempts=max_attempts, run_at=now + delay, created_at=now,
                lane=lane, limit_values=value, expires_at=expires_at,
                unique_spec=None if unique is None else encode_unique(unique), callback_url=url,
            )
            for i, delay in enumerate(delays)
        ]  # fmt: skip
        self.numbers += len(delays)
        done = self.tracking.tick(submissions=submissions)
        place, expected = 0, {}
        for new in submissions:  # those of a tick keep their order
            rank = new.due_at - priority * PRIORITY_STEP
            holder = self.holder(task_type, unique)
            if holder is not None:
                begun = holder.attempt > 0 or holder.state is not State.PENDING
                same = on_conflict is not OnConflict.REJECT
                if on_conflict is OnConflict.REPLACE:
                    same = not begun
                expected[new.task_id] = Duplicate(holder.task_id, same=same, unique=on_conflict)
                if on_conflict is OnConflict.REPLACE and not begun:
                    holder.revision += 1
                    holder.priority, holder.max_attempts = priority, max_attempts
                    holder.run_at, holder.rank, holder.ready = new.due_at, rank, new.due_at <= now
                    holder.lane, holder.limit_values = lane, value
                    holder.unique, holder.expires_at = unique, expires_at
                    holder.callback_url = url
                continue
            task = ModelTask(
                new.task_id, task_type, priority, max_attempts, new.due_at,
                rank + place * BETWEEN_SECONDS, new.due_at <= now,
                lane=lane, limit_values=value, unique=unique, expires_at=expires_at,
                callback_url=url, clock=lambda: self.tracking.now,
            )  # fmt: skip
            place += 1
            self.tasks[new.task_id] = task
            if unique is not None:
                self.holders[task_type, unique.key] = task
        assert done.duplicates == expected

    @rule(
        task_type=TASK_TYPES,
        delay=DELAYS,
        fate=st.sampled_from(["taken", "taken", "refused", "gone", "written twice"]),
        key=KEYS,
        life=LIVES,
    )
    def take_from_outbox(
        self, task_type: str, delay: float, fate: str, key: str | None, life: float | None
    ) -> None:
        now = self.tracking.now
        unique = None if key is None else Unique(key)
        expires_at = None if life is None else now + life
        new = new_task(
            self.numbers, task_type=task_type, run_at=now + delay, created_at=now,
            unique_spec=None if unique is None else encode_unique(unique), expires_at=expires_at,
        )  # fmt: skip
        self.numbers += 1
        refusal = '{"type": "InvalidSubmission", "message": "no"}' if fate == "refused" else None
        entry = OutboxEntry(new.task_id, new, refusal)
        if fate != "gone":
            self.write_row(new.task_id)
        done = self.tracking.tick(outbox=[entry])
        if fate == "gone":  # an earlier tick has taken it
            assert (done.handed, done.changes, done.counts) == ([], [], {})
            return
        if fate == "written twice":
            self.write_row(new.task_id)
            assert self.tracking.tick(outbox=[entry]).changes == []
        task = ModelTask(
            new.task_id, task_type, 0, 3, new.due_at, new.due_at, new.due_at <= now,
            unique=unique, expires_at=expires_at, clock=lambda: self.tracking.now,
        )  # fmt: skip
        self.tasks[new.task_id] = task
        holder = self.holder(task_type, unique)
        if fate == "refused" or holder is not None:
            task.unique, task.expires_at, task.ready = None, None, False
            task.state = State.FAILED if fate == "refused" else State.CANCELLED
        elif unique is not None:
            self.holders[task_type, unique.key] = task

    def write_row(self, task_id: str) -> None:
        """Commit a row of the outbox, as a user does."""
        row = {"id": task_id, "document": "{}", "created_at": self.tracking.now}
        with self.tracking.store._database.writing() as connection:
            connection.execute(task_outbox.insert(), row)

    @rule(
        task_type=TASK_TYPES,
        priority=st.integers(-1, 2),
        moved=st.sampled_from([1, 1, 3]),
        skips=st.booleans(),
        stale=st.sampled_from([False, False, True]),
    )
    def fire(self, task_type: str, priority: int, moved: int, *, skips: bool, stale: bool) -> None:
        now, at = self.tracking.now, self.beat.next_at
        new = new_task(
            self.numbers, task_type=task_type, priority=priority, run_at=now, created_at=now,
            schedule="beat", scheduled_for=at,
        )  # fmt: skip
        self.numbers += 1
        last = self.beat.last_task_id
        firing = Firing(
            ScheduleKey(DEFAULT_NAMESPACE, "beat"), at - 10.0 if stale else at, at + 10.0 * moved,
            (new,), not_beside=last if skips else None,
        )  # fmt: skip
        if stale:
            with pytest.raises(FenceBroken):
                self.tracking.tick(firings=[firing])
            return
        [fired] = self.tracking.tick(firings=[firing]).fired
        self.beat = replace(self.beat, next_at=at + 10.0 * moved)
        is_open = last in self.tasks and self.tasks[last].state not in FINAL
        assert fired.was_open == (skips and is_open)
        if fired.was_open:
            assert fired.tasks == ()
            return
        assert fired.tasks == (new,)
        self.beat = replace(self.beat, last_for=at, last_at=now, last_task_id=new.task_id)
        self.tasks[new.task_id] = ModelTask(
            new.task_id, task_type, priority, 3, now, now - priority * PRIORITY_STEP, ready=True,
        )  # fmt: skip

    @precondition(lambda self: any(task.ready for task in self.tasks.values()))
    @rule(short=st.integers(0, 4), long=st.integers(0, 4), capacity=st.integers(1, 5))
    def claim(self, short: int, long: int, capacity: int) -> None:
        self.expire()
        capacity_by_type = {"short": short, "long": long}
        ready = sorted(
            (task for task in self.tasks.values() if task.ready),
            key=lambda task: (task.rank, task.task_id),
        )
        expected: list[ModelTask] = []
        for task in ready:
            if capacity_by_type[task.task_type] and len(expected) < capacity:
                capacity_by_type[task.task_type] -= 1
                expected.append(task)
        runner_id = f"r{len(self.ended)}"
        done = self.tracking.tick(
            requests=[capacity_request(runner_id, capacity=capacity, short=short, long=long)],
            memory_types={"short"},
        )
        self.begin(expected, runner_id)
        assert [running for running, _ in done.claimed] == [
            self.as_running(task) for task in expected
        ]
        for task, (_, claim) in zip(expected, done.claimed, strict=True):
            assert claim.checkpoint == (None if task.checkpoint is None else str(task.checkpoint))
            assert claim.short_on == self.short_on(task)

    def short_on(self, task: ModelTask) -> tuple[str, ...]:
        """Return where attempts of a task ran out of memory, if its next one is told so."""
        if task.task_type != "short" or not task.crashes:
            return ()
        short = OutcomeKind.OUT_OF_MEMORY
        return tuple(f"n{number}" for number, kind in task.history if kind is short)

    def begin(self, claimed: list[ModelTask], runner_id: str) -> None:
        for task in claimed:
            task.state, task.ready = State.RUNNING, False
            task.attempt, task.runner_id = task.attempt + 1, runner_id
            until_now = task.unique is not None and task.unique.until is UniqueUntil.STARTED
            if until_now and self.holder(task.task_type, task.unique) is task:
                self.holders = {key: item for key, item in self.holders.items() if item is not task}

    @rule(
        delays=st.lists(st.sampled_from([0.0, 0.0, 0.0, 30.0]), min_size=1, max_size=4),
        task_type=TASK_TYPES,
        value=VALUES,
        url=URLS,
        life=LIVES,
        capacity=st.integers(1, 4),
        kind=st.sampled_from([None, None, OutcomeKind.SUCCEEDED, OutcomeKind.FAILED]),
    )
    def submit_and_claim(
        self,
        delays: list[float],
        task_type: str,
        value: str | None,
        url: str | None,
        life: float | None,
        capacity: int,
        kind: OutcomeKind | None,
    ) -> None:
        """Claim new tasks in the tick that brings them, in which an attempt may end, too."""
        self.expire()
        lane, now = lane_of(DEFAULT_NAMESPACE, value), self.tracking.now
        submissions = [
            new_task(
                self.numbers + i, task_type=task_type, run_at=now + delay, created_at=now,
                lane=lane, limit_values=value, callback_url=url,
                expires_at=None if life is None else now + life,
            )
            for i, delay in enumerate(delays)
        ]  # fmt: skip
        self.numbers += len(delays)
        question = Question(task_type, lane, -math.inf, capacity, queue=0)
        plan = ClaimPlan([question], [(0, capacity)])
        plan.is_new = not any(
            task.ready and (task.task_type, task.lane) == (task_type, lane)
            for task in self.tasks.values()
        )
        outcomes = []
        if kind is not None and (running := self.running()):
            item = self.as_running(running[0])
            outcomes.append((item, outcome(item, kind, at=now, retryable=True)))
            running[0].settle(kind, retryable=True, delay=0.0, now=now, charged=True, company=None)
            self.ended.append(item)
        for place, new in enumerate(submissions):
            self.tasks[new.task_id] = ModelTask(
                new.task_id, task_type, 0, 3, new.due_at, new.due_at + place * BETWEEN_SECONDS,
                new.due_at <= now, lane=lane, limit_values=value, expires_at=new.expires_at,
                callback_url=url, clock=lambda: self.tracking.now,
            )  # fmt: skip
        expected = sorted(
            (
                task
                for task in self.tasks.values()
                if task.ready and (task.task_type, task.lane) == (task_type, lane)
            ),
            key=lambda task: (task.rank, task.task_id),
        )[:capacity]
        runner_id = f"r{len(self.ended)}"
        done = self.tracking.tick(
            submissions=submissions,
            outcomes=outcomes,
            requests=[capacity_request(runner_id, capacity=capacity, **{task_type: capacity})],
            plan=plan,
        )
        self.begin(expected, runner_id)
        assert [running for running, _ in done.claimed] == [
            self.as_running(task) for task in expected
        ]

    @rule()
    def the_counts_are_folded(self) -> None:
        self.tracking.tick(fold=True, renew=False)

    @precondition(lambda self: self.running())
    @rule(number=NUMBERS, kinds=st.lists(KINDS, min_size=1, max_size=3), retryable=RETRYABLE,
          delay=DELAYS, charged=st.booleans(), company=COMPANIES)  # fmt: skip
    def settle(
        self,
        number: int,
        kinds: list[OutcomeKind],
        retryable: bool,
        delay: float,
        charged: bool = True,
        company: int | None = None,
    ) -> None:
        running = self.running()
        chosen = [
            running[(number + i) % len(running)] for i in range(min(len(kinds), len(running)))
        ]
        pairs = [(self.as_running(task), kind) for task, kind in zip(chosen, kinds, strict=False)]
        now = self.tracking.now
        more: dict[str, Any] = {
            "retryable": retryable, "delay_seconds": delay, "charged": charged, "at": now,
            "company": None if charged else company,
        }  # fmt: skip
        ends = []
        for item, kind in pairs:
            place: dict[str, Any] = {
                "node_id": f"n{item.attempt}",
                "worker_id": None if retryable else "w",
            }
            ends.append((item, outcome(item, kind, **more, **place)))
        self.tracking.tick(outcomes=ends)
        for task, (item, kind) in zip(chosen, pairs, strict=True):
            task.settle(
                kind, retryable=retryable, delay=delay, now=now, charged=charged, company=company
            )
            self.ended.append(item)

    @precondition(lambda self: self.tasks)
    @rule(number=NUMBERS, kind=KINDS, step=st.sampled_from([-1, 0, 1]))
    def settle_what_does_not_run(self, number: int, kind: OutcomeKind, step: int) -> None:
        task = self.pick(number)
        stale = self.as_running(task)
        stale = replace(stale, attempt=stale.attempt + step)
        if step == 0 and task.state is State.RUNNING:
            if not self.ended:
                return
            stale = self.ended[number % len(self.ended)]
        with pytest.raises(FenceBroken):
            self.tracking.settle(stale, kind)

    @precondition(lambda self: self.tasks)
    @rule(number=NUMBERS, value=st.integers(0, 9), late=st.booleans())
    def checkpoint(self, number: int, value: int, late: bool) -> None:
        task = self.pick(number)
        attempt = task.attempt - 1 if late else task.attempt
        self.reports += 1
        report = Report(task.task_id, attempt, self.reports, checkpoint=str(value))
        self.tracking.tick(reports=[report])
        if task.state is State.RUNNING and not late:
            task.checkpoint = value

    @precondition(lambda self: self.tasks)
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3))
    def cancel(self, numbers: list[int]) -> None:
        chosen = {task.task_id: task for task in map(self.pick, numbers)}
        self.tracking.tick(cancels=[*chosen, task_id(99_999)])
        for task in chosen.values():
            if task.state in WAITING:
                task.state, task.ready, task.cancel_requested = State.CANCELLED, False, True
            elif task.state is State.RUNNING:
                task.cancel_requested = True

    @precondition(lambda self: self.tasks)
    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=3))
    def retry(self, numbers: list[int]) -> None:
        chosen = {task.task_id: task for task in map(self.pick, numbers)}
        done = self.tracking.tick(retries=[*chosen, task_id(99_999)])
        refused = {task.task_id for task in chosen.values() if not self.retried(task)}
        assert set(done.acted.refused) == refused

    @precondition(lambda self: self.tasks)
    @rule(
        number=NUMBERS,
        step=st.sampled_from([0, 0, 0, -1, 1]),
        priority=st.none() | st.integers(-1, 2),
        delay=st.none() | DELAYS,
        value=st.just("") | VALUES,
        again=st.booleans(),
        with_retry=st.booleans(),
    )
    def change(
        self,
        number: int,
        step: int,
        priority: int | None,
        delay: float | None,
        value: str | None,
        again: bool,
        with_retry: bool,
    ) -> None:
        """Change a task, by itself or with a retry; `again`: the same call comes twice."""
        task = self.pick(number)
        asked = {"priority": priority, "delay_seconds": delay}
        values: dict[str, Any] = {name: new for name, new in asked.items() if new is not None}
        if value != "":
            values["limit_values"] = value
        target = Target(
            task.task_id, by="ops", changes=TaskChanges(**values), revision=task.revision + step
        )
        if with_retry:
            conflicts = self.tracking.tick(retries=[target, target]).acted.conflicts
            found = {type(conflict) for conflict in conflicts}
            if task.state not in (State.FAILED, State.CANCELLED):
                # One of the revision before may be known already: then it was carried out.
                known = step == -1 and task.state is State.PENDING and self.is_so(task, values)
                assert found == {StateConflict} or (known and found == {type(None)})
            elif step:
                assert found == {RevisionConflict}
            else:
                assert found == {type(None)}
                if self.retried(task):
                    self.apply(task, values)
            return
        answers = self.tracking.tick(changes=[target] * (1 + again)).acted.changed
        if task.state not in WAITING:
            assert [type(answer) for answer in answers] == [StateConflict] * len(answers)
        elif step:
            refused = [isinstance(answer, RevisionConflict) for answer in answers]
            known = step == -1 and self.is_so(task, values)
            assert refused == [not known] * len(answers)
        else:
            self.apply(task, values)
            task.revision += 1
            assert {answer.revision for answer in answers} == {task.revision}  # type: ignore[union-attr]

    def is_so(self, task: ModelTask, values: dict[str, Any]) -> bool:
        """Whether a task is as a change would make it: the change may be known already."""
        row = self.tracking.store.read(TasksById([task.task_id]))[task.task_id]
        delay = values.get("delay_seconds")
        return (
            values.get("priority", task.priority) == task.priority
            and values.get("limit_values", task.limit_values) == task.limit_values
            and (delay is None or row.updated_at + delay == task.run_at)
        )

    def apply(self, task: ModelTask, values: dict[str, Any]) -> None:
        now = self.tracking.now
        if "priority" in values:
            task.rank -= (values["priority"] - task.priority) * PRIORITY_STEP
            task.priority = values["priority"]
        if "delay_seconds" in values:
            task.run_at = now + values["delay_seconds"]
            task.rank = task.run_at - task.priority * PRIORITY_STEP
            task.ready = values["delay_seconds"] == 0
        if "limit_values" in values:
            task.limit_values = values["limit_values"]
            task.lane = lane_of(DEFAULT_NAMESPACE, task.limit_values)

    @precondition(lambda self: self.tasks)
    @rule(number=NUMBERS)
    def delete(self, number: int) -> None:
        task = self.pick(number)
        name = task.task_id
        answers = self.tracking.tick(deletes=[name, name]).acted.deleted
        if task.state in FINAL:
            assert isinstance(answers[0], Task)
            assert isinstance(answers[1], TaskNotFound)
            self.gone(task)
        else:
            assert [type(answer) for answer in answers] == [StateConflict] * 2

    def gone(self, task: ModelTask) -> None:
        """Forget a task that was deleted, but not what it added to the totals."""
        self.deleted[task.task_type, "submitted"] += 1
        self.deleted.update(counted_ends(task))
        self.deleted_ids.append(task.task_id)
        self.deleted_callbacks |= task.callbacks
        del self.tasks[task.task_id]
        self.seen.pop(task.task_id, None)
        self.ended = [item for item in self.ended if item.task_id != task.task_id]

    @precondition(lambda self: self.tasks)
    @rule(action=st.sampled_from(list(BulkAction)), task_type=TASK_TYPES)
    def act_on_many(self, action: BulkAction, task_type: str) -> None:
        self.bulks += 1
        bulk_id = f"0198ffff-0000-7000-8000-{self.bulks:012x}"
        new = NewBulk(bulk_id, bulk_filter(action, task_type=task_type), self.tracking.now)
        store, epoch, now = self.tracking.store, self.tracking.epoch, self.tracking.now
        make(store, epoch, now, new)
        while (step := run_step(store, epoch, now, "")) is not None:
            self.tracking.ready_changes += step.ready_changes
        skipped = 0
        for _, task in sorted(self.tasks.items(), reverse=True):  # the newest first
            if task.task_type != task_type:
                continue
            if action is BulkAction.DELETE:
                if task.state in FINAL:
                    self.gone(task)
            elif action is BulkAction.RETRY:
                skipped += not self.retried(task)
            elif task.state in WAITING:
                task.state, task.ready, task.cancel_requested = State.CANCELLED, False, True
            elif task.state is State.RUNNING:
                task.cancel_requested = True
        found = store.read(BulkById(bulk_id, DEFAULT_NAMESPACE))
        assert found is not None
        assert found.skipped == skipped

    def expire(self) -> None:
        done = self.tracking.tick(expire=True)
        for task in self.tasks.values():
            if self.may_expire(task) and (task.expires_at or 0.0) <= self.tracking.now:
                task.state, task.ready = State.CANCELLED, False
                task.expired += 1
        assert done.next_expiry == self.next_expiry()

    def may_expire(self, task: ModelTask) -> bool:
        return task.expires_at is not None and task.state is State.PENDING and not task.attempt

    def next_expiry(self) -> float | None:
        times = [task.expires_at for task in self.tasks.values() if self.may_expire(task)]
        return min((time for time in times if time is not None), default=None)

    def retried(self, task: ModelTask) -> bool:
        """A person retries a task; return False if another holds its key."""
        if task.state in (State.FAILED, State.CANCELLED):
            if task.unique is not None:
                if self.holder(task.task_type, task.unique) is not None:
                    return False
                self.holders[task.task_type, task.unique.key] = task
            task.expires_at = None
            task.failures = task.crashes = 0
            task.company = None
            task.cancel_requested = False
            task.wait(State.PENDING, self.tracking.now, self.tracking.now)
        return True

    @precondition(lambda self: any(task.state in WAITING for task in self.tasks.values()))
    @rule(
        kinds=st.lists(KINDS, min_size=3, max_size=3),
        retryable=RETRYABLE,
        delay=DELAYS,
        seconds=st.sampled_from([0.0, 29.0, 91.0]),
    )
    def a_round_of_work(
        self, kinds: list[OutcomeKind], retryable: bool, delay: float, seconds: float
    ) -> None:
        self.tracking.now += seconds
        self.promote()
        if any(task.ready for task in self.tasks.values()):
            self.claim(short=3, long=3, capacity=5)
        self.each_step_is_in_the_table()
        if self.running():
            self.settle(number=0, kinds=kinds, retryable=retryable, delay=delay)

    @precondition(lambda self: any(task.state in WAITING for task in self.tasks.values()))
    @rule(seconds=st.sampled_from([1.0, 29.0, 61.0]), looks=st.booleans())
    def time_passes(self, seconds: float, looks: bool) -> None:
        self.tracking.now += seconds
        if looks:
            self.promote()
            self.expire()

    def promote(self) -> None:
        done = self.tracking.tick(promote=True)
        for task in self.tasks.values():
            if task.state in WAITING and task.run_at <= self.tracking.now:
                task.ready = True
        assert done.next_due == self.next_due()

    @precondition(lambda self: len(self.stores) < 3)
    @rule()
    def another_tracker_takes_over(self) -> None:
        former, now = self.tracking, self.tracking.now
        store = Store(self.url, priority_step=PRIORITY_STEP)
        self.stores.append(store)
        self.tracking = Tracking(store, now=now, max_crashes=MAX_CRASHES)
        assert self.tracking.epoch == former.epoch + 1
        work: dict[str, Any] = {
            "submissions": [new_task(99_999)],
            "requests": [capacity_request(short=9, long=9)],
        }
        for task in self.running():
            item = self.as_running(task)
            work.setdefault("outcomes", []).append((item, outcome(item)))
        with pytest.raises(Superseded):
            former.tick(**work)

    def next_due(self) -> float | None:
        scheduled = (t for t in self.tasks.values() if t.state in WAITING and not t.ready)
        return min((task.run_at for task in scheduled), default=None)

    @invariant()
    def the_tasks_are_as_the_model_says(self) -> None:
        stored = self.tracking.store.read(
            TasksById([*self.tasks, *self.deleted_ids, task_id(99_999)])
        )
        assert set(stored) == set(self.tasks)
        for task in self.tasks.values():
            row = stored[task.task_id]
            assert (row.state, row.attempt, row.failures, row.crashes, row.cancel_requested) == (
                task.state, task.attempt, task.failures, task.crashes, task.cancel_requested
            )  # fmt: skip
            assert row.run_at == task.run_at
            assert (row.priority, row.limit_values) == (task.priority, task.limit_values)
            assert row.revision == task.revision
            assert (row.finished_at is not None) == (row.state in FINAL)

    @invariant()
    def each_key_has_its_holder(self) -> None:
        with self.tracking.store._database.reading() as connection:
            rows = connection.execute(
                select(unique_keys.c.task_type, unique_keys.c.unique_key, unique_keys.c.task_id)
            )
            held = {(task_type, key): name for task_type, key, name in rows}
        assert held == {
            key: task.task_id for key, task in self.holders.items() if task.state not in FINAL
        }

    @invariant()
    def each_step_is_in_the_table(self) -> None:
        for name, task in self.tasks.items():
            state, attempt = self.seen.get(name, (State.PENDING, 0))
            assert state is task.state or (state, task.state) in ALLOWED
            assert task.attempt - attempt in (0, 1)
            self.seen[name] = (task.state, task.attempt)

    @invariant()
    def nothing_stays_in_the_outbox(self) -> None:
        assert self.tracking.store.outbox_size()[0].rows == 0

    @invariant()
    def the_schedule_is_where_it_was_moved(self) -> None:
        assert self.tracking.store.schedules() == [self.beat]

    @invariant()
    def the_counts_are_those_of_the_tasks(self) -> None:
        real = Counter((task.task_type, task.state) for task in self.tasks.values())
        real += Counter({(CALLBACK_TYPE, State.PENDING): len(self.callbacks())})
        assert counted(self.tracking.store.counts()) == real

    @invariant()
    def the_changes_of_lanes_add_up(self) -> None:
        self.known_lanes.apply(self.tracking.ready_changes)
        self.tracking.ready_changes.clear()
        lanes: dict[tuple[str, str], list[float]] = {}
        values = {}
        for task in self.tasks.values():
            if task.ready:
                lanes.setdefault((task.task_type, task.lane), []).append(task.rank)
                values[task.task_type, task.lane] = task.limit_values
        for at in self.callbacks().values():
            key = (CALLBACK_TYPE, lane_of(DEFAULT_NAMESPACE, None))
            lanes.setdefault(key, []).append(at)
            values[key] = None
        stored = self.tracking.store.lanes()
        assert {(row.task_type, row.lane): row for row in stored} == {
            key: LaneRow(*key, DEFAULT_NAMESPACE, values[key], len(ranks), min(ranks))
            for key, ranks in lanes.items()
        }
        self.known_lanes.check(stored)

    @invariant()
    def what_has_run_and_waits_for_its_time_is_known(self) -> None:
        rows = self.tracking.store.put_off(["short", "long"])
        assert set(rows) == {
            PutOffRow(
                task.task_id,
                task.task_type,
                task.lane,
                DEFAULT_NAMESPACE,
                task.limit_values,
                task.run_at,
            )
            for task in self.tasks.values()
            if task.state in WAITING and task.attempt and not task.ready
        }

    @invariant()
    def the_totals_add_up(self) -> None:
        totals = check_identity(self.tracking.store)
        known = Counter(self.deleted)
        for task in self.tasks.values():
            known[task.task_type, "submitted"] += 1
            known.update(counted_ends(task))
        found = {
            (kind, name): number
            for (_, kind, name), number in totals.items()
            if name in ("submitted", "expired", "finished.COMPLETED")
            or name.startswith("attempts.")
        }
        known[CALLBACK_TYPE, "submitted"] = len(self.callbacks())
        assert found == +known

    @invariant()
    def each_end_of_a_task_with_a_url_has_one_callback(self) -> None:
        with self.tracking.store._database.reading() as connection:
            query = select(tasks.c.task_id).where(tasks.c.task_type == CALLBACK_TYPE)
            found = [str(name) for name in connection.execute(query).scalars()]
        assert sorted(found) == sorted(self.callbacks())

    @invariant()
    def what_runs_and_what_is_due_next_is_known(self) -> None:
        running = {
            item.task_id: (item.runner_id, item.company) for item in self.tracking.store.running()
        }
        assert running == {task.task_id: (task.runner_id, task.company) for task in self.running()}
        assert self.tracking.store.next_due() == self.next_due()
        assert self.tracking.store.next_expiry() == self.next_expiry()

    @invariant()
    def nothing_is_left_of_what_was_deleted(self) -> None:
        with self.tracking.store._database.reading() as connection:
            for table in (attempts, task_actions, task_logs, task_tags):
                names = set(connection.execute(select(table.c.task_id)).scalars())
                assert not names & set(self.deleted_ids)

    @invariant()
    def the_history_has_every_attempt_once(self) -> None:
        with self.tracking.store._database.reading() as connection:
            rows = connection.execute(select(attempts).order_by(attempts.c.attempt)).all()
        for name, task in self.tasks.items():
            stored = [(row.attempt, row.outcome) for row in rows if row.task_id == name]
            assert stored == task.history
            ended = task.attempt - (task.state is State.RUNNING)
            assert [number for number, _ in task.history] == list(range(1, ended + 1))


def run(prepare: Callable[[StoreMachine], None], *, examples: int, steps: int) -> None:
    machine = type("Machine", (StoreMachine,), {"prepare": prepare})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_sqlite_agrees_with_the_model(sqlite_template: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:

        def prepare(machine: StoreMachine) -> None:
            for file in Path(folder).iterdir():
                file.unlink()
            machine.url = f"sqlite:///{shutil.copy(sqlite_template, Path(folder) / 'tasks.db')}"

        run(prepare, examples=40, steps=40)


def test_postgresql_agrees_with_the_model(postgres_url: str) -> None:
    run_on_server(postgres_url, examples=6)


def run_on_server(url: str, *, examples: int) -> None:
    """Compare the store on a server with the model, in so many examples."""

    def prepare(machine: StoreMachine) -> None:
        machine.url = url
        store = Store(url)
        with store._database.writing() as connection:
            for table in metadata.sorted_tables:
                if table is not tracker_epoch:
                    connection.execute(table.delete())
        store.close()

    run(prepare, examples=examples, steps=30)
