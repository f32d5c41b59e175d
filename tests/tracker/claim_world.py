"""A tracker's memory of claims beside a naive store: lists that are searched from end to end."""

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from msgspec.structs import replace

from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.model.lane_names import lane_of, limit_values_of
from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import Running
from raytasks.protocol.messages import Outcome
from raytasks.store.candidates import Candidate
from raytasks.store.lane_rows import LaneAsk, ReadyChange
from raytasks.store.relaning import RelaneResult
from raytasks.store.settlement import Settlement
from raytasks.tracker.claim_book import ClaimBook
from raytasks.tracker.claim_order import findings, offered
from raytasks.tracker.fleet import Fleet
from raytasks.tracker.settling import settlement_of
from raytasks.tracker.sharing import CapacityRequest, share_out
from raytasks.tracker.tick import TickInput, TickResult

NOW = 1_000_000.0


def info(task_type: str, *limits: Limit, weight: float = 1.0) -> HandlerInfo:
    """Return the handler of a type, of the shared pool."""
    return HandlerInfo(task_type, HandlerKind.FUNCTION, (0, 1), limits=limits, weight=weight)


@dataclass
class Task:
    """A task of the naive store. It may be claimed from `due` on; `rank` is its place.

    One that is `foreign` may have values of any version.
    """

    task_id: str
    task_type: str
    namespace: str
    values: str | None
    rank: float
    due: float
    payload: str
    ready: bool = False
    running: Running | None = None
    foreign: bool = False

    @property
    def lane(self) -> str:
        """Its lane."""
        return lane_of(self.namespace, self.values)


@dataclass
class ClaimWorld:
    """Tasks in a list, and the real memory of claims, which hears of each change."""

    now: float = 0.0
    tasks: dict[str, Task] = field(default_factory=dict)
    infos: dict[str, HandlerInfo] = field(default_factory=dict)
    begun: list[tuple[float, Running]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fleet = Fleet()
        self.book = ClaimBook(self.fleet, lambda: NOW + self.now, lambda: self.now, 60.0)
        self.lanes = self.book.lanes
        self._numbers = itertools.count(1)
        self._later: dict[str, Task] = {}  # those that wait for their time
        self.asked: list[LaneAsk] = []
        self.has_more = False  # whether the last tick asks for another one

    def declare(self, *infos: HandlerInfo) -> None:
        """Put handlers in force."""
        self.infos = {item.task_type: item for item in infos}
        self.book.set_handlers(infos)
        self.book.put_off(())

    def add(
        self,
        task_type: str = "a",
        key: str | None = None,
        namespace: str = "default",
        *,
        rank: float | None = None,
        infos: Mapping[str, HandlerInfo] | None = None,
    ) -> Task:
        """Add a task that is ready at once, as a tick without claims does."""
        task = self.make(task_type, key, namespace, rank=rank, infos=infos)
        self.apply_changes([(task, 1)])
        return task

    def make(
        self,
        task_type: str,
        key: str | None,
        namespace: str,
        *,
        rank: float | None = None,
        infos: Mapping[str, HandlerInfo] | None = None,
    ) -> Task:
        """Store a task of which memory is not told, as the version `infos` makes it."""
        known = self.infos if infos is None else infos
        limits = known[task_type].limits if task_type in known else ()
        payload = {"key": key, "other": None if key is None else key[:1]}
        values = limit_values_of(payload, limits)
        number = next(self._numbers)
        place = NOW + self.now + number * 1e-6 if rank is None else rank
        task = Task(
            *(f"{number:08d}", task_type, namespace, values, place, self.now, json.dumps(payload)),
            ready=True,
            foreign=infos is not None,
        )
        self.tasks[task.task_id] = task
        return task

    def apply_changes(self, changes: Sequence[tuple[Task, int]]) -> None:
        """Tell memory of tasks that are ready, or are so no longer."""
        self.book.note_step(self._summed(changes), ())

    def move(self) -> bool:
        """Do one step of the moves to other lanes, if there is one; return whether there was."""
        moves = self.book.moves
        if not moves.any:
            return False
        step = moves.turn()
        moved = {
            task.task_id: values
            for task in self.tasks.values()
            if task.task_type == step.task_type and task.running is None
            if not step.lanes or (task.ready and task.lane in step.lanes)
            if (values := step.compute(task.payload, task.values)) != task.values
        }
        ready = [task for name in moved if (task := self.tasks[name]).ready]
        left = self._summed([(task, -1) for task in ready])
        for name, values in moved.items():
            self.tasks[name].values = values
        changes = [*self._summed([(task, 1) for task in ready]), *left]
        self.book.note_moved(step, RelaneResult(changed=len(moved), ready_changes=changes))
        return True

    def cancel(self, task: Task) -> None:
        """Cancel a task that waits."""
        del self.tasks[task.task_id]
        self._later.pop(task.task_id, None)
        if task.ready:
            self.apply_changes([(task, -1)])

    def _summed(self, changes: Sequence[tuple[Task, int]]) -> list[ReadyChange]:
        found = []
        for sign in (1, -1):
            lanes: dict[tuple[str, str], list[Task]] = {}
            for task, change in changes:
                if change == sign:
                    lanes.setdefault((task.task_type, task.lane), []).append(task)
            for (name, lane), of_it in lanes.items():
                best = min(task.rank for task in of_it)
                first = of_it[0]
                found.append(
                    ReadyChange(name, lane, first.namespace, first.values, best, sign * len(of_it))
                )
        return found

    def candidates(self, asks: Sequence[LaneAsk]) -> list[Candidate]:
        """Return the first tasks of lanes, as the store does."""
        self.asked += asks
        rows: list[Candidate] = []
        ready: dict[tuple[str, str], list[Task]] = {}
        for task in self.tasks.values():
            if task.ready:
                ready.setdefault((task.task_type, task.lane), []).append(task)
        for ask in asks:
            of_lane = ready.get((ask.task_type, ask.lane), ())
            mine = [task for task in of_lane if task.rank >= ask.floor]
            mine.sort(key=lambda task: (task.rank, task.task_id))
            rows += _answer(ask, [_row(task) for task in mine[: ask.limit + 1]])
        return sorted(rows, key=lambda row: (row.rank, row.task_id))

    def tick(
        self, *requests: CapacityRequest, ends: Sequence[tuple[Running, Outcome]] = ()
    ) -> list[Running]:
        """Do one tick: settle attempts, and claim for the requests; return the claims."""
        work = TickInput(NOW + self.now, 1, 3, outcomes=ends)
        work.ordered_types = self.book.limits.ordered_types
        self.book.plan_for(work, lambda: requests)
        return self._commit(work)

    def fail(self, *requests: CapacityRequest, in_doubt: bool) -> None:
        """Plan a tick that fails."""
        work = TickInput(NOW + self.now, 1, 3)
        work.ordered_types = self.book.limits.ordered_types
        self.book.plan_for(work, lambda: requests)
        self.book.abandon(work, in_doubt=in_doubt)

    def _commit(self, work: TickInput) -> list[Running]:
        done = TickResult()
        self.has_more = work.plan is not None and work.plan.more
        changes: list[tuple[Task, int]] = []
        for running, outcome in work.outcomes:
            keeps = running.task_type in work.ordered_types
            item = settlement_of(running, outcome, 3, work.now, keeps_rank=keeps)
            done.settled.append(item)
            changes += self._settled(self.tasks[running.task_id], item)
        if work.plan is not None and work.plan.questions:
            rows = self.candidates(work.plan.asks)
            shares = share_out(offered(rows, work.plan), work.requests, work.durations)
            chosen, done.apart = shares.chosen, shares.apart
            ids = {row.task_id for row, _ in chosen}
            done.findings = findings(rows, work.plan, ids, len(ids))
            for row, runner_id in chosen:
                changes.append((self.tasks[row.task_id], -1))
                done.claimed.append((self._claimed(row, runner_id), None))  # type: ignore[arg-type]
        done.ready_changes = self._summed(changes)
        self.book.apply(work, done)
        for running, _ in work.outcomes:
            self.fleet.end(running)
        for running, _ in done.claimed:
            self.fleet.begin(running, self.now)
            self.begun.append((self.now, running))
        assert self.book.mismatch is None, self.book.mismatch
        self.promote()
        return [running for running, _ in done.claimed]

    def _settled(self, task: Task, item: Settlement) -> list[tuple[Task, int]]:
        running, task.running = task.running, None
        assert running is not None
        if item.state.final:
            del self.tasks[task.task_id]
            return []
        task.due = item.run_at - NOW
        if item.moves:
            task.rank = item.run_at
        renewal = self.book.moves.renewals.get(task.task_type)
        if renewal is not None and running.claimed_at <= renewal.since:
            task.values = renewal.compute(task.payload, task.values)
        task.ready = item.is_ready(NOW + self.now)
        if not task.ready:
            self._later[task.task_id] = task
        return [(task, 1)] if task.ready else []

    def _claimed(self, row: Candidate, runner_id: str) -> Running:
        task = self.tasks[row.task_id]
        task.ready = False
        task.running = Running(
            row.task_id,
            row.task_type,
            1,
            runner_id,
            NOW + self.now,
            0,
            0,
            0,
            10,
            namespace=row.namespace,
            lane=row.lane,
            limit_values=row.limit_values,
            rank=row.rank,
        )
        return task.running

    def promote(self) -> None:
        """Make ready what has become due."""
        due = [task for task in self._later.values() if task.due <= self.now]
        for task in due:
            task.ready = True
            del self._later[task.task_id]
        if due:
            self.apply_changes([(task, 1) for task in due])
        later = [task.due for task in self._later.values()]
        self.book.limits.put_offs.promoted(NOW + min(later) if later else None)

    def end(
        self, running: Running, kind: OutcomeKind = OutcomeKind.SUCCEEDED, **more: object
    ) -> tuple[Running, Outcome]:
        """Return how an attempt ends, for `tick`."""
        began = running.claimed_at
        return running, Outcome(running.task_id, 1, kind, began, NOW + self.now, **more)  # type: ignore[arg-type]

    # What is true, by looking at everything

    @property
    def running(self) -> list[Running]:
        """The attempts that run."""
        return [task.running for task in self.tasks.values() if task.running is not None]

    def counts(self, limit: str) -> Counter[object]:
        """Return how many attempts run by the key of a limit."""
        found: Counter[object] = Counter()
        for running in self.running:
            for gate in self.book.limits.gates_of(
                running.task_type, running.namespace, running.limit_values
            ):
                if gate.limit.name == limit:
                    found[gate.key] += 1
        return found


def _answer(ask: LaneAsk, rows: list[Candidate]) -> list[Candidate]:
    """Return the first ones, as SQLite does, with the ranks of those behind them."""
    found = rows[: ask.limit]
    if not ask.looks_on:
        return found
    ranks = [row.rank for row in rows[1:]]
    return [replace(row, next_rank=rank) for row, rank in zip_longest(found, ranks)]


def _row(task: Task) -> Candidate:
    return Candidate(
        task.task_id,
        task.task_type,
        "PENDING",
        task.rank,
        0,
        0,
        "{}",
        0,
        0,
        10,
        None,
        None,
        task.namespace,
        1,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        None,
        2,
        None,
        task.lane,
        task.values,
        None,
        None,
        cancel_requested=False,
    )
