"""The plan of a tick's claims: which lanes it asks, for how many tasks, and who takes turns.

Only open lanes are asked, best rank first, and never for more than their limits have room for. So
no limit is exceeded, whatever the runners take.
"""

import heapq
import math
from collections.abc import Callable, Sequence

from raytasks.store.candidates import MAX_CLAIMS
from raytasks.tracker import lane_gates
from raytasks.tracker.claim_order import ClaimPlan, Question
from raytasks.tracker.fairness import PoolTurns, Preview, SpaceShare, TypeShare
from raytasks.tracker.gates import NO_BOUND, Gate
from raytasks.tracker.lane_book import Lanes
from raytasks.tracker.lane_queues import Lane, LaneQueue
from raytasks.tracker.sharing import TURN_SECONDS, CapacityRequest

MAX_LANES = 1024
"""Maximum number of lanes that one tick asks."""

MAX_ROWS = MAX_CLAIMS - 4 * MAX_LANES
"""Maximum number of tasks that one tick asks for, beside those that only show where lanes go on."""

MAX_LOOKS = 4000
"""Maximum number of lanes that are looked at for one tick; those that are blocked are parked."""

SPREAD = 8
"""Number of lanes over which the tasks for one type are spread, if so many are open."""

MAX_RIVALS = 32
"""Maximum number of other lanes of an ordered key that are asked together with one."""

MIN_SECONDS = 1e-6
"""Minimum seconds that an attempt counts as."""

_SMALL = 1e-9


class _Offer:
    """The offer of a pool's runners to one type.

    - `left`: how many of its tasks may be claimed; `part`: the part of one runner's offer that one
      of them uses. With `is_full` no runner can take one now, but one should be kept free for it.
    """

    __slots__ = ("is_full", "left", "part")

    def __init__(
        self, requests: Sequence[CapacityRequest], task_type: str, duration: float, *, rated: bool
    ) -> None:
        self.left = takers = fill = 0
        self.is_full = False
        for request in requests:
            most = request.most(task_type, duration, rated=rated)
            if most < 1:
                continue
            if not request.fits(duration):
                self.is_full = True
                continue
            takers += 1
            self.left += most
            fill += request.fill(duration)
        self.part = takers / fill if fill else 0.0
        if takers:
            self.is_full = False
        elif self.is_full:
            self.left = 1


def plan_claims(
    lanes: Lanes,
    requests: Sequence[CapacityRequest],
    average: Callable[[str], float],
    takes: Callable[[str], bool],
    plan: ClaimPlan,
) -> None:
    """Add to a plan what is to be asked for, and reserve the room of its limits.

    `takes` returns whether tasks of a type are to be claimed at all.
    """
    planner = _Planner(lanes, average, takes, plan)
    by_pool: dict[str, list[CapacityRequest]] = {}
    for request in requests:
        for name in lanes.maker.pools_of(request.runner_id, request.capacity_by_type):
            by_pool.setdefault(name, []).append(request)
    for name in sorted(by_pool):
        pool = lanes.maker.pools.get(name)
        if pool is not None:
            planner.plan_pool(pool, by_pool[name])
    planner.close()


class _Planner:
    def __init__(
        self,
        lanes: Lanes,
        average: Callable[[str], float],
        takes: Callable[[str], bool],
        plan: ClaimPlan,
    ) -> None:
        self._lanes = lanes
        self._average = average
        self._takes = takes
        self._plan = plan
        self._now = lanes.limits.now()
        self._rows = 0
        self._looks = 0
        self._queues: dict[LaneQueue, int] = {}
        self._asked: dict[LaneQueue, list[Question]] = {}
        self._taken: dict[Lane, Question | None] = {}
        self._grouped: dict[Lane, int] = {}
        self._looked_at: set[Lane] = set()
        self._groups = 0

    @property
    def _is_full(self) -> bool:
        return (
            len(self._plan.questions) >= MAX_LANES
            or self._rows >= MAX_ROWS
            or self._looks >= MAX_LOOKS
        )

    def plan_pool(self, pool: PoolTurns, requests: Sequence[CapacityRequest]) -> None:
        """Plan what the runners of a pool get: each turn goes to whoever has had the least."""
        spaces = Preview(pool.turns)
        types: dict[SpaceShare, Preview] = {}
        offers: dict[str, _Offer] = {}
        left = float(len(requests))
        while left > _SMALL and (taken := spaces.take()) is not None:
            if self._is_full:
                self._plan.more = True
                break
            space_time, space = taken
            assert isinstance(space, SpaceShare)
            turns = types.get(space)
            if turns is None:
                turns = types[space] = Preview(space.types)
            found = turns.take()
            if found is None:
                continue
            type_time, share = found
            assert isinstance(share, TypeShare)
            queue: LaneQueue = share.owner
            name = queue.kind.name
            duration = max(MIN_SECONDS, self._average(name))
            offer = offers.get(name)
            if offer is None:
                rated = queue.kind.limits.is_rated
                offer = offers[name] = _Offer(requests, name, duration, rated=rated)
            asked = 0
            if offer.left and self._takes(name) and self._has_room(queue):
                seconds = duration / share.slots
                wanted = _fair_number(
                    seconds,
                    (turns.next_time - type_time) * share.weight,
                    (spaces.next_time - space_time) * space.weight,
                )
                wanted = min(wanted, offer.left)
                if offer.part:
                    wanted = min(wanted, math.ceil(left / offer.part - _SMALL))
                asked = self._ask(queue, wanted)
                offer.left -= asked
                left -= asked * offer.part
                if asked:
                    self._plan.turns.append((self._queues[queue], asked))
                if asked == wanted and offer.left and not offer.is_full:
                    turns.put(share, type_time + asked * seconds / share.weight)
                space_time += asked * seconds / space.weight
            if turns.next_time < math.inf:
                spaces.put(space, space_time)
        spaces.close()
        for turns in types.values():
            turns.close()

    def close(self) -> None:
        """Put the lanes back that are not asked; have it read where those that are go on."""
        for queue, questions in self._asked.items():
            if queue.heap or len(questions) > 1:
                for question in questions:
                    question.extra = int(question.owner.count > question.limit)
        for lane, asked in self._taken.items():
            if asked is None:
                self._lanes.put_back(lane)

    def _has_room(self, queue: LaneQueue) -> bool:
        """Return whether the limits of a type have room; park a queue that they block."""
        limits = self._lanes.limits
        gate = limits.blocking(queue.kind.limits.plain)
        if gate is None:
            return True
        if not gate.reserved:
            self._lanes.park_queue(queue, gate)
        return False

    def _ask(self, queue: LaneQueue, wanted: int) -> int:
        """Ask for tasks of a queue, the best lanes first; return for how many."""
        wanted = min(
            wanted, MAX_ROWS - self._rows, self._lanes.limits.least_room(queue.kind.limits.plain)
        )
        asked = 0
        portion = -(-wanted // SPREAD) if len(queue.heap) > 1 else wanted
        while asked < wanted and not self._is_full and (lane := queue.take()) is not None:
            if lane in self._taken:
                continue
            self._taken[lane] = None
            self._looks += 1
            number = min(portion, wanted - asked, lane.count, self._room_of(lane))
            if number > 0:
                self._note(lane, number)
                asked += number
        for question in self._asked.get(queue, ()):
            if asked >= wanted:
                break
            lane = question.owner
            number = min(wanted - asked, lane.count - question.limit, self._room_of(lane))
            if number > 0 and question.order is None:
                self._reserve(lane, number)
                question.limit += number
                asked += number
        return asked

    def _note(self, lane: Lane, number: int) -> None:
        queue = lane.queue
        place = self._queues.setdefault(queue, len(self._queues))
        question = Question(queue.kind.name, lane.name, lane.floor, number, place, owner=lane)
        question.order = self._grouped.get(lane)
        self._taken[lane] = question
        self._asked.setdefault(queue, []).append(question)
        self._plan.questions.append(question)
        self._reserve(lane, number)

    def _reserve(self, lane: Lane, number: int) -> None:
        for gate in (*lane.queue.kind.limits.plain, *lane_gates.gates_of(self._lanes.limits, lane)):
            gate.reserved += number
            self._plan.reserved.append((gate, number))
        self._rows += number

    def _room_of(self, lane: Lane) -> int:
        """Return the room of the keys of a lane; park a lane that they block."""
        gates = lane_gates.gates_of(self._lanes.limits, lane)
        room = NO_BOUND
        for gate in gates:
            free = gate.room(self._now)
            if free <= 0:
                if not gate.reserved:
                    self._lanes.park(lane, gate)
                return 0
            room = min(room, free)
        for gate in gates:
            if gate.members is not None and len(gate.members) > 1 and room:
                room = self._room_in_order(lane, gate)
        return room

    def _room_in_order(self, lane: Lane, gate: Gate) -> int:
        """Return 1 if a lane has the best task of an ordered key, as far as is known; else 0.

        Other lanes of the key are asked with it: which task is the best shows only then.
        """
        assert gate.members is not None
        first = lane_gates.first_before(gate, lane)
        if first is not None:
            if first.head and first.parked_at is not gate:
                self._lanes.park(lane, gate)
                return 0
            self._plan.more = True
            if first.parked_at is gate:
                self._lanes.reopen(first)
            elif first not in self._looked_at:
                self._look_at(first, lane.queue)
            return 0
        if lane not in self._grouped:
            others = [other for other in gate.members if other is not lane and other.count]
            rivals = heapq.nsmallest(MAX_RIVALS, others, key=lambda other: other.floor)
            if not self._looked_at.isdisjoint(rivals):
                self._plan.more = True  # a lane is compared in one order at a time
                return 0
            self._groups += 1
            self._grouped[lane] = self._groups
            for other in rivals:
                self._look_at(other, lane.queue, self._groups)
        return 1

    def _look_at(self, lane: Lane, queue: LaneQueue, order: int | None = None) -> None:
        """Ask for the first task of a lane, to compare it; nothing of it is claimed."""
        self._looked_at.add(lane)
        self._taken.setdefault(lane, None)
        place = self._queues.setdefault(queue, len(self._queues))
        question = Question(lane.queue.kind.name, lane.name, lane.floor, 0, place, extra=1)
        question.order, question.owner = order, lane
        self._plan.questions.append(question)
        self._rows += 1


def _fair_number(seconds: float, *gaps: float) -> int:
    """Return how many tasks of a type are one turn, if each takes so many seconds of a runner.

    The gaps are the seconds by which others are behind.
    """
    gap = min(gaps)
    if gap == math.inf:
        return MAX_ROWS
    return max(1, int(TURN_SECONDS / seconds), math.ceil(gap / seconds))
