"""The memory of lanes: how many tasks are ready in each, and which of them can be claimed now.

A lane is open, or parked before the one gate that blocks it. A parked lane costs nothing until a
slot or a token of that gate comes free. The tasks of one namespace and type are a queue: its open
lanes by rank. A queue that is paused, or blocked by a limit without key, takes no turns.
"""

import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from raytasks.model.handler_info import HandlerInfo
from raytasks.model.steering import Steering
from raytasks.model.tasks import Running
from raytasks.store.lane_rows import LaneRow, ReadyChange
from raytasks.tracker import lane_gates, lane_queues
from raytasks.tracker.fairness import Fairness, TypeShare
from raytasks.tracker.gates import Gate
from raytasks.tracker.lane_queues import Lane, LaneQueue, TypeLanes
from raytasks.tracker.limit_book import Limits
from raytasks.tracker.queue_maker import QueueMaker


class Lanes:
    """All lanes with ready tasks. All methods belong to the tracker's event loop.

    `clock` returns seconds since the epoch, `monotonic` seconds since any time; `average` the
    average seconds of a type.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        average: Callable[[str], float],
    ) -> None:
        self._clock = clock
        self._average = average
        self.limits = Limits(monotonic)
        self.limits.on_wake = self._woken
        self.fairness = Fairness(monotonic, self.limits.park_again, self._is_charged)
        self.maker = QueueMaker(clock, self.fairness.expect_all)
        self._kinds: dict[str, TypeLanes] = {}
        self.pauses_end_at = math.inf
        """When a pause ends by itself, in seconds since the epoch."""
        self._open: set[str] = set()
        self.has_news = False
        """Whether something came that no plan has counted on."""
        self.generation = 0
        """How often all was read again; what was planned before then is not taken back."""

    # What is in force

    def set_handlers(self, infos: Iterable[HandlerInfo], running: Iterable[Running]) -> None:
        """Put limits, pools and weights of a handlers' version in force."""
        infos, rows = list(infos), list(self.rows())
        self.maker.set_handlers(infos)
        self.limits.declare(infos, ())
        self.load(rows, running)

    def steer(self, steering: Steering) -> None:
        """Put what people have set in force: bounds, weights, pauses."""
        self.maker.steer(steering)
        self.limits.steer(steering)
        for kind in self._kinds.values():
            kind.limits = self.limits.of_type(kind.name)
        self._look_at_pauses()

    def end_pauses(self) -> None:
        """End the pauses whose time has come."""
        if self._clock() >= self.pauses_end_at:
            self._look_at_pauses()

    def _look_at_pauses(self) -> None:
        now = self._clock()
        end = self.maker.steering.next_end(now)
        self.pauses_end_at = math.inf if end is None else end
        for kind in self._kinds.values():
            for queue in kind.queues.values():
                paused = self.maker.steering.pause_of(queue.namespace, kind.name, now) is not None
                if paused and not queue.paused:
                    self._close(queue)
                    queue.paused = True
                elif queue.paused and not paused:
                    queue.paused = False
                    self._open_queue(queue, fresh=True)

    # What is ready

    def load(self, rows: Iterable[LaneRow], running: Iterable[Running]) -> None:
        """Begin again with what is on disk. What gates know of time stays.

        Which tasks are put off is forgotten: see `PutOffs`.
        """
        running = [*running]
        self.generation += 1
        self.fairness.forget()
        self.maker.pools, self._kinds = {}, {}
        self._open.clear()
        self.limits.recount(running)
        for task_type, name, namespace, values, waiting, rank in rows:
            queue = self._queue(task_type, namespace)
            lane = queue.kind.lanes[name] = Lane(queue, name, values)
            lane.ready, lane.floor = waiting, rank
            queue.kind.ready += waiting
            if lane_gates.waits_to_move(self.limits, lane):
                self.limits.park(lane, self.limits.keyed.moving, task_type, rank)
                continue
            queue.heap.append((rank, lane))
            queue.ready += waiting
        for kind in self._kinds.values():
            for queue in kind.queues.values():
                heapq.heapify(queue.heap)
                self._open_queue(queue, fresh=True)
            if kind.limits.is_member:
                for lane in kind.lanes.values():
                    lane_gates.join(self.limits, lane)

    def rows(self) -> Iterator[LaneRow]:
        """Return all lanes, as `load` takes them."""
        return lane_queues.rows(self._kinds.values())

    def apply(self, changes: Iterable[ReadyChange]) -> None:
        """Apply what has become ready on disk, and what is ready no longer.

        Raises `AssertionError` if fewer than no tasks are ready in a lane.
        """
        for task_type, name, namespace, values, rank, change in changes:
            if change > 0:
                lane = self.lane(task_type, name, namespace, values)
                self.has_news = self.has_news or change > lane.expected
                lane.ready += change
                lane.queue.kind.ready += change
                self._grown(lane, change, rank)
            elif change < 0:
                known = self.find(task_type, name)
                has = 0 if known is None else known.ready
                assert has + change >= 0, f"{-change} tasks left a lane of {task_type} of {has}"
                assert known is not None
                known.ready += change
                known.queue.kind.ready += change
                known.head = ""  # it may be gone
                self._shrunk(known, -change)
                if known.count:
                    lane_gates.note_moved(self.limits, known)

    def expect(self, lane: Lane, number: int, rank: float) -> None:
        """Add tasks that the tick on its way may make ready."""
        lane.expected += number
        self._grown(lane, number, rank)

    def forget_expected(self, lanes: Iterable[Lane]) -> None:
        """Take back `expect`, as the tick is over."""
        for lane in lanes:
            number, lane.expected = lane.expected, 0
            self._shrunk(lane, number)

    def find(self, task_type: str, name: str) -> Lane | None:
        """Return a lane that has ready tasks, or may have soon."""
        kind = self._kinds.get(task_type)
        return None if kind is None else kind.lanes.get(name)

    def of_types(self, task_types: Iterable[str]) -> list[Lane]:
        """Return all lanes of some types."""
        kinds = (self._kinds[name] for name in self._kinds.keys() & task_types)
        return [lane for kind in kinds for lane in kind.lanes.values()]

    def lane(self, task_type: str, name: str, namespace: str, values: str | None) -> Lane:
        """Return a lane, a new one if need be."""
        kind = self._kinds.get(task_type)
        lane = None if kind is None else kind.lanes.get(name)
        if lane is None:
            queue = self._queue(task_type, namespace)
            lane = queue.kind.lanes[name] = Lane(queue, name, values)
            if queue.kind.limits.is_member:
                lane_gates.join(self.limits, lane)
        return lane

    def learn(self, lane: Lane, floor: float, head: str, *, taken: bool) -> None:
        """Note that the tasks of a lane have no better rank than this; `head` is the first one.

        An open lane is parked if its limits have no room any more. One that was `taken` from its
        queue is put back.
        """
        lane.head = head
        if not lane.count:
            return
        moved, lane.floor = lane.floor != floor, floor
        if moved:
            lane_gates.note_moved(self.limits, lane)
        if lane.parked_at is None:
            gate = lane_gates.blocking(self.limits, lane)
            if gate is not None:
                self.park(lane, gate)
            elif moved or taken:
                lane.queue.push(lane)

    def give_way(self, task_type: str, name: str) -> None:
        """Have the next plan ask for another lane if that one has the first task of an order."""
        lane = self.find(task_type, name)
        if lane is None:
            return
        if lane.parked_at is None and (gate := lane_gates.blocking(self.limits, lane)) is not None:
            self.park(lane, gate)
        if lane.parked_at is not None and self.limits.blocking((lane.parked_at,)) is None:
            self.has_news = True

    def put_back(self, lane: Lane) -> None:
        """Put a lane back that a plan has taken from its queue, if it is open."""
        if lane.count and lane.parked_at is None:
            lane.queue.push(lane)

    # What can be claimed

    def open_work(self, task_types: Iterable[str]) -> dict[str, int]:
        """Return how many tasks of some types are ready in open lanes, without types of none."""
        return {
            name: self._kinds[name].open
            for name in self._open.intersection(task_types)
            if not self._is_blocked(name)
        }

    def has_open(self, task_types: Mapping[str, Any]) -> bool:
        """Return whether an open lane of one of these types has a ready task."""
        if task_types.keys().isdisjoint(self._open):
            return False
        return any(not self._is_blocked(name) for name in task_types.keys() & self._open)

    def best(self, task_types: Iterable[str], most: int) -> list[Lane]:
        """Return lanes of some types. See `lane_queues.best`."""
        kinds = [self._kinds[name] for name in task_types if name in self._kinds]
        return lane_queues.best(kinds, most)

    def ready_of(self, task_type: str) -> int:
        """Return how many tasks of a type are ready, whatever holds them back."""
        kind = self._kinds.get(task_type)
        return 0 if kind is None else kind.ready

    def open_of(self, task_type: str) -> int:
        """Return how many tasks of a type are ready in open lanes."""
        return self.open_work((task_type,)).get(task_type, 0)

    def _is_blocked(self, task_type: str) -> bool:
        return self.limits.blocking(self._kinds[task_type].limits.plain) is not None

    def reopen(self, lane: Lane) -> None:
        """Open a parked lane, unless another gate blocks it."""
        if lane.parked_at is not None:
            lane.parked_at = None
            self._open_lane(lane, fresh=False)

    def park(self, lane: Lane, gate: Gate) -> None:
        """Have an open lane wait before a gate."""
        self._close_lane(lane)
        self.limits.park(lane, gate, lane.queue.kind.name, lane.floor)

    def park_queue(self, queue: LaneQueue, gate: Gate) -> None:
        """Have a queue wait before a gate of its type."""
        self._close(queue)
        self.limits.park(queue, gate, queue.kind.name, queue.share.space.time)

    def charge(self, claimed: Iterable[Running]) -> None:
        """Charge claimed attempts to their namespaces and types. See `Fairness.flush`."""
        for running in claimed:
            share = self._queue(running.task_type, running.namespace).share
            if self._is_charged(share):
                self.fairness.claim(running.task_id, share, self._average(running.task_type))

    def _is_charged(self, share: TypeShare) -> bool:
        # Others wait for turns, or before a limit, where they take none.
        return share.pool.is_contested or bool(self.limits.by_name)

    def charge_running(self, running: Iterable[Running]) -> None:
        """Charge the running attempts that were claimed while nobody else took turns."""
        self.charge(item for item in running if item.task_id not in self.fairness)
        self.fairness.misses_some = False
        self.fairness.flush()

    @property
    def is_any_open(self) -> bool:
        """Whether an open lane has a task, or may have one after the tick on its way."""
        return bool(self._open)

    # Changes of one lane

    def _queue(self, task_type: str, namespace: str) -> LaneQueue:
        kind = self._kinds.get(task_type)
        if kind is None:
            limits, names = self.limits.of_type(task_type), self.limits.keyed.names_of(task_type)
            kind = self._kinds[task_type] = TypeLanes(task_type, limits, names)
        queue = kind.queues.get(namespace)
        if queue is None:
            queue = kind.queues[namespace] = self.maker.make(kind, namespace)
        return queue

    def _grown(self, lane: Lane, number: int, rank: float) -> None:
        is_first = lane.count == number
        is_better = rank < lane.floor
        if rank <= lane.floor:
            lane.head = ""
        if is_better or is_first:
            lane.floor = rank
        if is_first:
            self._open_lane(lane, fresh=True)
        elif lane.parked_at is None:
            self._add(lane.queue, number)
            if is_better:
                lane.queue.push(lane)
        elif is_better:
            gate = lane.parked_at
            self.limits.park(lane, gate, lane.queue.kind.name, rank)
            self.limits.left(gate)

    def _shrunk(self, lane: Lane, number: int) -> None:
        if lane.parked_at is None:
            self._add(lane.queue, -number)
        if not lane.count:
            self._remove(lane)

    def _remove(self, lane: Lane) -> None:
        """Forget a lane, and wake others that wait before its gates: it uses no room any more."""
        kind = lane.queue.kind
        lane.parked_at = None
        del kind.lanes[lane.name]
        for gate in lane_gates.left_by(lane):
            if gate.members is not None:
                gate.members.pop(lane, None)
                gate.members = gate.members or None
            self.limits.left(gate)

    def _open_lane(self, lane: Lane, *, fresh: bool) -> None:
        """Open a lane if nothing blocks it; else park it."""
        gate = lane_gates.blocking(self.limits, lane)
        if gate is not None:
            self.limits.park(lane, gate, lane.queue.kind.name, lane.floor)
            return
        lane.queue.push(lane)
        self._add(lane.queue, lane.count, fresh=fresh)

    def _close_lane(self, lane: Lane) -> None:
        self._add(lane.queue, -lane.count)

    def _add(self, queue: LaneQueue, number: int, *, fresh: bool = True) -> None:
        """Change how many tasks the open lanes of a queue have."""
        was_active = queue.share.active
        queue.ready += number
        if was_active:
            self._count_open(queue.kind, number)
            if not queue.ready:
                queue.share.pool.leave(queue.share)
                self._give_way(queue)
        elif queue.ready and queue.parked_at is None and not queue.paused:
            self._open_queue(queue, fresh=fresh)

    def _open_queue(self, queue: LaneQueue, *, fresh: bool) -> None:
        """Let a queue take turns, if it has work and nothing blocks it."""
        if not queue.ready or queue.paused or queue.share.active:
            return
        kind = queue.kind
        gate = self.limits.blocking(kind.limits.plain)
        if gate is not None:
            if fresh:
                queue.share.pool.arrive(queue.share)
            self.limits.park(queue, gate, kind.name, queue.share.space.time)
            return
        self._count_open(kind, queue.ready)
        seconds = 0.0 if fresh else self._average(kind.name)
        queue.share.pool.enter(queue.share, fresh=fresh, seconds=seconds)

    def _close(self, queue: LaneQueue) -> None:
        """Let a queue take no turns, though it has work."""
        queue.parked_at = None
        if queue.share.active:
            self._count_open(queue.kind, -queue.ready)
            queue.share.pool.leave(queue.share)

    def _count_open(self, kind: TypeLanes, number: int) -> None:
        kind.open += number
        if kind.open:
            self._open.add(kind.name)
        else:
            self._open.discard(kind.name)

    def _give_way(self, queue: LaneQueue) -> None:
        """Wake others that wait before the gates of a type."""
        for gate in queue.kind.limits.plain:
            self.limits.left(gate)

    def _woken(self, item: Lane | LaneQueue) -> bool:
        self.has_news = True
        if isinstance(item, LaneQueue):
            self._open_queue(item, fresh=False)
            return item.share.active
        if item.count:
            self._open_lane(item, fresh=False)
        return item.count > 0 and item.parked_at is None
