"""The claims of ticks in the tracker's memory: planned before a tick, booked after it."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from raytasks.model.handler_info import REMOTE_POOL, HandlerInfo
from raytasks.model.states import CRASHES, FINAL, WAITING, OutcomeKind
from raytasks.model.tasks import NewTask, Running
from raytasks.protocol.messages import Outcome, StateChange
from raytasks.store.lane_rows import LaneRow, PutOffRow, ReadyChange
from raytasks.store.relaning import RelaneResult, RelaneStep
from raytasks.store.store import Store
from raytasks.tracker import lane_gates
from raytasks.tracker.access import StoreAccess
from raytasks.tracker.claim_order import ClaimPlan
from raytasks.tracker.claim_plan import plan_claims
from raytasks.tracker.fairness import LEAST_SECONDS
from raytasks.tracker.fleet import Fleet
from raytasks.tracker.lane_book import Lanes
from raytasks.tracker.lane_moves import LaneMoves
from raytasks.tracker.lane_queues import Lane
from raytasks.tracker.sharing import CapacityRequest

if TYPE_CHECKING:
    from raytasks.tracker.awaited_commands import Submission
    from raytasks.tracker.tick import TickInput, TickResult

_RANK_SLACK = 1e-3  # an expected rank may be wrong by so many seconds


class ClaimBook:
    """The lanes, limits and shares of a tracker, kept in step with its ticks.

    `clock` returns seconds since the epoch, `monotonic` seconds since any time. A priority is worth
    `priority_step` seconds of rank.
    """

    def __init__(
        self,
        fleet: Fleet,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        priority_step: float,
    ) -> None:
        self._fleet = fleet
        self._priority_step = priority_step
        self.lanes = Lanes(clock, monotonic, fleet.averages.get)
        self.limits = self.lanes.limits
        self.moves = LaneMoves(self.limits.keyed, clock, monotonic)
        self.mismatch: str | None = None
        """How memory and database differ, as a tick has shown; None: they do not."""
        self.awaits_handlers = False
        """Whether nothing is claimed until it is known which limits hold."""
        self.wants_put_off = False
        """Whether it has to be read which tasks are put off."""
        self.apart: dict[str, float] = {}
        """By type, how many empty runners its suspects wait for; see `sharing.Shares`."""
        self.memory_types: frozenset[str] = frozenset()
        """The types whose attempts are told where earlier ones ran out of memory."""

    def load(self, rows: Iterable[LaneRow], put_off: Iterable[PutOffRow]) -> None:
        """Begin again with what is on disk; the fleet has the running attempts."""
        self.mismatch = None
        self.apart.clear()
        self.lanes.load(rows, self._fleet.running.values())
        self._begin_moves()
        self.put_off(put_off)

    def _begin_moves(self) -> None:
        self.moves.begin(self.lanes.rows())
        self._close_types(self.moves.closed)

    def _close_types(self, task_types: frozenset[str]) -> None:
        """Close all lanes of types until their tasks are moved, and open those of others again."""
        lanes, keyed = self.lanes, self.limits.keyed
        changed, keyed.closed = keyed.closed ^ task_types, task_types
        for lane in lanes.of_types(changed):
            if lane.parked_at is keyed.moving:
                lanes.reopen(lane)
            elif lane.parked_at is None and lane_gates.waits_to_move(self.limits, lane):
                lanes.park(lane, keyed.moving)

    def put_off(self, rows: Iterable[PutOffRow]) -> None:
        """Note the tasks that hold up others until they are due."""
        for row in rows:
            if row.task_id not in self.limits.put_offs:
                gates = self.limits.gates_of(row.task_type, row.namespace, row.limit_values)
                self.limits.put_offs.add(row.task_id, row.run_at, gates)

    async def read_put_off(self, access: StoreAccess, store: Store) -> None:
        """Read which tasks hold up those behind them, if that is not known."""
        while self.wants_put_off:
            self.wants_put_off = False
            if types := sorted(self.limits.ordered_types):
                self.put_off(await access.insist(partial(store.put_off, types)))

    def set_handlers(self, infos: Sequence[HandlerInfo]) -> None:
        """Put the limits, pools and weights of a handlers' version in force."""
        self.lanes.set_handlers(infos, self._fleet.running.values())
        self._begin_moves()
        self.wants_put_off, self.awaits_handlers = True, False
        self.memory_types = frozenset(info.task_type for info in infos if info.heeds_memory)

    # Before a tick

    def arrived(self, submissions: Iterable["Submission"], now: float) -> list[NewTask]:
        """Return new tasks as accepted at `now`, with the values of their types' limits."""
        placed = self.limits.keyed.placed
        return [placed(task).stamped(now) for item in submissions for task in item.tasks]

    def plan(self, work: "TickInput", takes: Callable[[str], bool]) -> None:
        """Add to a tick what runners may get. `takes`: whether a type is to be claimed at all."""
        averages, rated = self._fleet.averages, self.limits.rated_types

        def requests() -> list[CapacityRequest]:
            ending = {running.task_id for running, _ in work.outcomes}
            return [
                request
                for runner in self._fleet
                if (request := runner.capacity_request(averages, ending, rated))
            ]

        self.plan_for(work, requests, takes)
        if work.careful and work.plan is not None:
            work.plan.look_further()

    def look_at_the_time(self) -> None:
        """Open what waited for a time that has come: a token, or the end of a pause."""
        self.limits.on_time()
        self.lanes.end_pauses()

    def plan_for(
        self,
        work: "TickInput",
        asked: Callable[[], Sequence[CapacityRequest]],
        takes: Callable[[str], bool] = lambda _task_type: True,
    ) -> None:
        """Add to a tick what those may get who have `asked` for something."""
        lanes, average = self.lanes, self._fleet.averages.get
        self.look_at_the_time()
        if lanes.fairness.misses_some:
            lanes.charge_running(self._fleet.running.values())
        lanes.fairness.look()
        lanes.has_news = False
        if self.awaits_handlers:
            return
        plan = ClaimPlan(generation=lanes.generation)
        self._expect(work, plan)
        if plan.expected or plan.ending:
            work.plan = plan
        if lanes.is_any_open and (requests := asked()):
            work.plan = plan
            plan_claims(lanes, requests, average, takes, plan)
            if work.changes or work.retries:
                self._look_from_the_start(plan)
            if plan.questions:
                work.requests = requests
                plan.is_new = all(not question.owner.ready for question in plan.questions)
                work.durations = {name: average(name) for name in plan.task_types}

    def _look_from_the_start(self, plan: ClaimPlan) -> None:
        """Have lanes that are in order be asked for tasks that the tick itself puts in front."""
        for question in plan.questions:
            if question.task_type in self.limits.ordered_types:
                question.floor = -math.inf

    def _expect(self, work: "TickInput", plan: ClaimPlan) -> None:
        """Count what the tick itself makes ready before it claims, and the slots that it frees."""
        limits, ordered = self.limits, self.limits.ordered_types
        if limits.by_name:
            plan.ending = limits.expect_ends(
                running
                for running, outcome in work.outcomes
                if outcome.kind is OutcomeKind.SUCCEEDED or running.task_type not in ordered
            )
        ready: dict[tuple[str, str], list[float]] = {}
        named = {}
        for task in work.fresh:
            if task.due_at <= work.now:
                rank = task.due_at + work.ahead - task.priority * self._priority_step
                key = (task.task_type, task.lane)
                ready.setdefault(key, []).append(rank - _RANK_SLACK)
                named[key] = (task.namespace, task.limit_values)
        for running, outcome in work.outcomes:
            if _may_be_due(outcome) and running.task_type not in ordered:
                key = (running.task_type, running.lane)
                ready.setdefault(key, []).append(running.rank - _RANK_SLACK)
                named[key] = (running.namespace, running.limit_values)
        for key, ranks in ready.items():
            lane = self.lanes.lane(*key, *named[key])
            self.lanes.expect(lane, len(ranks), min(ranks))
            plan.expected.append(lane)

    # After a tick

    def abandon(self, work: "TickInput", *, in_doubt: bool) -> None:
        """Take back a plan whose tick has failed. In doubt, its tokens are spent all the same."""
        plan = work.plan
        if plan is None or plan.generation != self.lanes.generation:
            return
        self.limits.forget_ends(plan.ending)
        self._release(plan, spend=in_doubt)
        self.lanes.forget_expected(plan.expected)
        for question in plan.questions:
            if question.has_taken:
                self.lanes.put_back(question.owner)
        self.lanes.has_news = True

    def apply(self, work: "TickInput", done: "TickResult") -> None:
        """Book what a tick has changed."""
        lanes, limits, plan = self.lanes, self.limits, work.plan
        is_present = plan is not None and plan.generation == lanes.generation
        if plan is not None and is_present:
            limits.forget_ends(plan.ending)
        if limits.by_name:
            # The ends come first: a token that comes back to a full bucket cannot be spent.
            self._settle_limits(work, done)
            for running, _ in done.claimed:
                lane = lanes.find(running.task_type, running.lane)
                limits.begun(running, lane_gates.gates_at_hand(lane))
        pools = lanes.maker.pools
        if limits.by_name or len(pools) > 1 or any(pool.is_contested for pool in pools.values()):
            lanes.charge(running for running, _ in done.claimed)
        if plan is not None and is_present:
            self._release(plan, spend=False)
        fairness = lanes.fairness
        if fairness.charges_any:
            fairness.settle((outcome.task_id, _used(outcome)) for _, outcome in work.outcomes)
        self._apply_changes(done.ready_changes)
        if done.acted.changes and limits.ordered_types:
            self._place_again(done.acted.changes)
        if plan is not None:
            if is_present:
                lanes.forget_expected(plan.expected)
            self._learn(plan, done)
            if self.apart or done.apart:
                for name in plan.task_types:
                    self.apart.pop(name, None)
                self.apart.update(done.apart)
        self._go_on(done.changes)
        fairness.flush()

    def note_step(self, changes: Sequence[ReadyChange], states: Iterable[StateChange]) -> None:
        """Book what a step of a bulk operation has changed."""
        self._apply_changes(changes)
        self._go_on(states)

    def note_moved(self, step: RelaneStep, done: RelaneResult) -> None:
        """Book what a step of the moves between lanes has changed."""
        self.moves.done(step, done)
        self.note_step(done.ready_changes, ())
        self._close_types(self.moves.closed)

    def _release(self, plan: ClaimPlan, *, spend: bool) -> None:
        for gate, number in plan.reserved:
            gate.reserved -= number
            if spend:
                self.limits.spend(gate, number)
        freed = dict.fromkeys(gate for gate, _ in plan.reserved)
        for gate in freed:
            self.limits.spent(gate)

    def _settle_limits(self, work: "TickInput", done: "TickResult") -> None:
        limits, ordered = self.limits, self.limits.ordered_types
        for (running, outcome), item in zip(work.outcomes, done.settled, strict=True):
            if running.task_type not in limits.types:
                continue
            is_put_off = item.state in WAITING and not item.is_ready(work.now)
            if is_put_off and running.task_type in ordered:
                gates = limits.gates_of(running.task_type, running.namespace, running.limit_values)
                limits.put_offs.add(running.task_id, item.run_at, gates)
            if outcome.closes is not None:
                limits.close(running, outcome.closes, outcome.delay_seconds)
            matters = running.task_type in limits.rated_types or bool(self._fleet.unsure)
            limits.ended(running, begun=not matters or self._has_begun(running, outcome))

    def _has_begun(self, running: Running, outcome: Outcome) -> bool:
        """Return whether an ended attempt may have begun."""
        key = (running.task_id, running.attempt)
        if key in self._fleet.unsure:
            self._fleet.unsure.discard(key)
            return True
        if not outcome.begun:
            return False
        runner = self._fleet.runners.get(running.runner_id)
        # A warm runner gives back only what has not begun, and does not say so.
        return outcome.kind is not OutcomeKind.RELEASED or (
            runner is not None and runner.pool == REMOTE_POOL
        )

    def _apply_changes(self, changes: Sequence[ReadyChange]) -> None:
        self.moves.note(changes)
        try:
            self.lanes.apply(changes)
        except AssertionError as error:
            self.mismatch = str(error)

    def _learn(self, plan: ClaimPlan, done: "TickResult") -> None:
        """Apply what the tick has found in lanes; park those whose limits have no room left."""
        for question, found in zip(plan.questions, done.findings, strict=False):
            known: Lane | None = self.lanes.find(question.task_type, question.name)
            if known is not None and known.floor < question.floor:
                continue  # something better came, which the question did not look for
            ready = 0 if known is None else known.ready
            if found.left is not None and ready != found.left:
                self.mismatch = (
                    f"{found.left} tasks are ready in a lane of {question.task_type}, "
                    f"and {ready} in memory"
                )
            if known is not None:
                self.lanes.learn(known, found.floor, found.head, taken=question.has_taken)
        for question in plan.questions:
            if question.order is not None and question.has_taken:
                self.lanes.give_way(question.task_type, question.name)

    def _place_again(self, changes: Iterable[StateChange]) -> None:
        """Have it read again which tasks hold up others, of those that people have changed."""
        for change in changes:
            has_run = change.attempt and change.state in WAITING
            if has_run and change.task_type in self.limits.ordered_types:
                self.limits.put_offs.remove(change.task_id)
                self.wants_put_off = True

    def _go_on(self, changes: Iterable[StateChange]) -> None:
        put_offs = self.limits.put_offs
        for change in changes if put_offs else ():
            if change.state in FINAL and change.task_id in put_offs:
                put_offs.remove(change.task_id)


def _may_be_due(outcome: Outcome) -> bool:
    """Return whether the task of an attempt may be due again at once."""
    if outcome.kind in CRASHES or outcome.kind is OutcomeKind.RELEASED:
        return True
    return outcome.retryable and outcome.delay_seconds <= 0


def _used(outcome: Outcome) -> float | None:
    """Return the seconds that an attempt has used; None: all since its claim."""
    kind = outcome.kind
    if kind is not OutcomeKind.SUCCEEDED:
        if kind in CRASHES:
            return None
        if not outcome.begun or kind is OutcomeKind.RELEASED:
            return 0.0
    return max(LEAST_SECONDS, outcome.finished_at - outcome.started_at)
