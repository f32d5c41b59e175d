"""Lanes in the tracker's memory, and the queues that they form: plain data with its order."""

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter

from raytasks.store.lane_rows import LaneAsk, LaneRow
from raytasks.tracker.fairness import TypeShare
from raytasks.tracker.gates import Gate
from raytasks.tracker.keyed_limits import are_named
from raytasks.tracker.type_limits import TypeLimits


class Lane:
    """A lane: `ready` tasks on disk, and `expected` ones that the tick on its way may add.

    No task in it has a rank below `floor`; the first one is `head`, or empty if that is not known.
    Its `gates` are those of its keys, once somebody has asked for them. If it is `misplaced`, its
    values are not those of its type's limits: its tasks are moved, and not claimed before.
    """

    __slots__ = (
        *("expected", "floor", "gates", "head", "misplaced", "name", "parked_as", "parked_at"),
        *("queue", "ready", "values"),
    )

    def __init__(self, queue: "LaneQueue", name: str, values: str | None) -> None:
        self.queue = queue
        self.name = name
        self.values = values
        names = queue.kind.keyed_names
        self.misplaced = names is not None and not are_named(values, names)
        self.ready = self.expected = 0
        self.floor = math.inf
        self.head = ""
        self.gates: Sequence[Gate] | None = None
        self.parked_at: Gate | None = None
        self.parked_as = 0

    def __lt__(self, other: "Lane") -> bool:
        return self.name < other.name

    @property
    def count(self) -> int:
        """How many tasks may be claimed from it."""
        return self.ready + self.expected

    def ask(self, limit: int) -> LaneAsk:
        """Return the question for its first tasks."""
        return LaneAsk(self.queue.kind.name, self.name, self.floor, limit)


class LaneQueue:
    """The lanes of one namespace and type. `ready` is how many tasks its open lanes have."""

    __slots__ = ("heap", "kind", "namespace", "parked_as", "parked_at", "paused", "ready", "share")

    def __init__(self, kind: "TypeLanes", namespace: str, share: TypeShare, paused: bool) -> None:
        self.kind = kind
        self.namespace = namespace
        self.heap: list[tuple[float, Lane]] = []
        self.ready = 0
        self.paused = paused
        self.parked_at: Gate | None = None
        self.parked_as = 0
        self.share = share
        share.owner = self

    @property
    def count(self) -> int:
        """How many tasks its open lanes have."""
        return self.ready

    def take(self) -> Lane | None:
        """Remove the open lane with the best rank, and return it; None if there is none."""
        heap = self.heap
        while heap:
            floor, lane = heapq.heappop(heap)
            if lane.floor == floor and lane.parked_at is None and lane.count:
                return lane
        return None

    def push(self, lane: Lane) -> None:
        """Put an open lane in its place."""
        heap = self.heap
        if len(heap) > 64 and len(heap) > 2 * len(self.kind.lanes):
            heap[:] = {
                known: (floor, known)
                for floor, known in heap
                if known.floor == floor and known.parked_at is None and known.count
            }.values()
            heapq.heapify(heap)
        heapq.heappush(heap, (lane.floor, lane))

    @property
    def has_more(self) -> bool:
        """Whether there may be another open lane than those that were taken."""
        return bool(self.heap)


class TypeLanes:
    """All lanes of a type, by name, and its queues by namespace.

    `ready` is how many tasks are ready in all; `open`: in open lanes of queues that take turns.
    The `keyed_names` are those of its keyed limits; None if it has no handler.
    """

    __slots__ = ("keyed_names", "lanes", "limits", "name", "open", "queues", "ready")

    def __init__(self, name: str, limits: TypeLimits, keyed_names: frozenset[str] | None) -> None:
        self.name = name
        self.limits = limits
        self.keyed_names = keyed_names
        self.lanes: dict[str, Lane] = {}
        self.queues: dict[str, LaneQueue] = {}
        self.open = self.ready = 0


def rows(kinds: Iterable[TypeLanes]) -> Iterator[LaneRow]:
    """Return the lanes of some types that have ready tasks, as the store does."""
    for kind in kinds:
        for lane in kind.lanes.values():
            if lane.ready:
                space = lane.queue.namespace
                yield LaneRow(kind.name, lane.name, space, lane.values, lane.ready, lane.floor)


def best(kinds: Iterable[TypeLanes], most: int) -> list[Lane]:
    """Return the lanes in which the best ranks are ready, whatever holds them back."""
    lanes = (lane for kind in kinds for lane in kind.lanes.values() if lane.ready)
    return heapq.nsmallest(most, lanes, key=attrgetter("floor"))
