"""Lanes in the tracker's memory, and the queues that they form: plain data with its order."""

import heapq
import math
from collections.abc import Iterable, Sequence
from operator import attrgetter

from raytasks.store.lane_rows import LaneAsk
from raytasks.tracker.fairness import TypeShare
from raytasks.tracker.gates import Gate
from raytasks.tracker.type_limits import TypeLimits


class Lane:
    """A lane: `ready` tasks on disk, and `expected` ones that the tick on its way may add.

    No task in it has a rank below `floor`; the first one is `head`, or empty if that is not known.
    Its `gates` are those of its keys, once somebody has asked for them.
    """

    __slots__ = (
        *("expected", "floor", "gates", "head", "name", "parked_as", "parked_at", "queue", "ready"),
        "values",
    )

    def __init__(self, queue: "LaneQueue", name: str, values: str | None) -> None:
        self.queue = queue
        self.name = name
        self.values = values
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
    """

    __slots__ = ("lanes", "limits", "name", "open", "queues", "ready")

    def __init__(self, name: str, limits: TypeLimits) -> None:
        self.name = name
        self.limits = limits
        self.lanes: dict[str, Lane] = {}
        self.queues: dict[str, LaneQueue] = {}
        self.open = self.ready = 0


def best(kinds: Iterable[TypeLanes], most: int) -> list[Lane]:
    """Return the lanes in which the best ranks are ready, whatever holds them back."""
    lanes = (lane for kind in kinds for lane in kind.lanes.values() if lane.ready)
    return heapq.nsmallest(most, lanes, key=attrgetter("floor"))
