"""Fair shares in virtual time: between the namespaces of a pool, then between a namespace's types.

Whoever has had the least seconds of the pool's slots for its weight comes next. A claim is charged
with the type's average seconds at once. When the attempt ends, what was measured takes the place of
the charge. What runs longer than its charge is charged as it runs.
"""

import heapq
import math
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

LONG_SECONDS = 0.5
"""Seconds after which an attempt is charged as it runs, if that is more than its average."""

LEAST_SECONDS = 0.001
"""Seconds that an attempt counts as at the least: one of no time still has its place and tick."""

LAG_SECONDS = 1.0
"""Virtual seconds, beside two average attempts, that whoever was blocked may be behind others."""

_LOOK_SECONDS = 0.25

_stamps = count()


class Share:
    """One that takes turns: a type of a namespace, or a namespace.

    - `time`: its virtual time in seconds; the lowest comes next.
    - `weight`: its share; `active`: whether it has work that can be claimed.
    """

    __slots__ = ("active", "entry", "stamp", "time", "weight")

    def __init__(self, weight: float) -> None:
        self.time = 0.0
        self.weight = weight
        self.active = False
        self.stamp = 0
        self.entry: tuple[float, int, Share] | None = None


class Turns:
    """The active ones in the order of their virtual times; the newest comes first among equals.

    How far the turns have come is kept while nobody takes any. So whoever comes first after that
    has saved nothing, and whoever had much before need not wait.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Share]] = []
        self._active = 0
        self._come_to = 0.0

    def __len__(self) -> int:
        return self._active

    def enter(self, share: Share, lag: float) -> None:
        """Let one take turns. It may be behind the others by `lag` seconds at most."""
        share.time = max(share.time, self.now() - lag)
        share.active = True
        share.stamp = -next(_stamps)
        self._active += 1
        self.push(share)

    def leave(self, share: Share) -> None:
        """Let one take no turns, as it has no work."""
        self.now()
        share.active, share.entry = False, None
        self._active -= 1

    def now(self) -> float:
        """Return the virtual time of the one whose turn it is, or was when somebody had work."""
        first = self.first()
        if first is None:
            return self._come_to
        self._come_to = max(self._come_to, first.time)
        return first.time

    def push(self, share: Share) -> None:
        """Put one in the order again, after its time has changed."""
        if share.active:
            share.entry = (share.time, share.stamp, share)
            if len(self._heap) > 64 and len(self._heap) > 2 * self._active:
                self._heap = [entry for entry in self._heap if entry[2].entry is entry]
                heapq.heapify(self._heap)
            heapq.heappush(self._heap, share.entry)

    def first(self) -> Share | None:
        """Return the one whose turn it is; None if nobody is active."""
        heap = self._heap
        while heap:
            entry = heap[0]
            if entry[2].entry is entry:
                return entry[2]
            heapq.heappop(heap)
        return None

    def take(self) -> Share | None:
        """Remove the one whose turn it is, until it is pushed again."""
        share = self.first()
        if share is not None:
            heapq.heappop(self._heap)
            share.entry = None
        return share


class Preview:
    """The turns that would follow if what is chosen were charged; `Turns` stay as they are."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._heap: list[tuple[float, int, Share]] = []
        self._taken: list[Share] = []

    def take(self) -> tuple[float, Share] | None:
        """Return the one whose turn it is, with its time; None if nobody is left."""
        first = self._turns.first()
        if self._heap and (first is None or self._heap[0][0] <= first.time):
            time, _, share = heapq.heappop(self._heap)
            return time, share
        taken = self._turns.take()
        if taken is None:
            return None
        self._taken.append(taken)
        return taken.time, taken

    def put(self, share: Share, time: float) -> None:
        """Let one that was taken have another turn, at a later time."""
        heapq.heappush(self._heap, (time, share.stamp, share))

    @property
    def next_time(self) -> float:
        """The time of the one whose turn it is; infinite if nobody is left."""
        first = self._turns.first()
        time = self._heap[0][0] if self._heap else math.inf
        return time if first is None else min(time, first.time)

    def close(self) -> None:
        """Put all back where they were."""
        for share in self._taken:
            self._turns.push(share)


class SpaceShare(Share):
    """The share of a namespace in a pool, and the turns of its types there."""

    __slots__ = ("namespace", "types")

    def __init__(self, namespace: str, weight: float) -> None:
        super().__init__(weight)
        self.namespace = namespace
        self.types = Turns()


class TypeShare(Share):
    """The share of a type among those of its namespace. `slots`: how many fit in one runner."""

    __slots__ = ("owner", "pool", "slots", "space")

    def __init__(
        self, owner: Any, pool: "PoolTurns", space: SpaceShare, weight: float, slots: int
    ) -> None:
        super().__init__(weight)
        self.owner = owner
        self.pool = pool
        self.space = space
        self.slots = slots


class PoolTurns:
    """The turns of the namespaces in one pool. It calls `on_contest` when a second one has work."""

    def __init__(self, name: str, on_contest: Callable[[], None]) -> None:
        self.name = name
        self._on_contest = on_contest
        self.turns = Turns()
        self.spaces: dict[str, SpaceShare] = {}

    def enter(self, share: TypeShare, *, fresh: bool, seconds: float) -> None:
        """Let a type of a namespace take turns; `fresh`: it had no work at all before.

        What only was blocked may be behind by two of its average attempts' `seconds`, too.
        """
        space, was_contested = share.space, self.is_contested
        lag = 0.0 if fresh else LAG_SECONDS + 2 * seconds
        space.types.enter(share, lag if fresh else lag / share.weight)
        if not space.active:
            self.turns.enter(space, lag if fresh else lag / space.weight)
        if not was_contested and self.is_contested:
            self._on_contest()

    def arrive(self, share: TypeShare) -> None:
        """Note that a type of a namespace has work again, and may take no turns yet.

        It has saved nothing while it had none.
        """
        space = share.space
        if not share.active:
            share.time = max(share.time, space.types.now())
        if not space.active:
            space.time = max(space.time, self.turns.now())

    def leave(self, share: TypeShare) -> None:
        """Let a type of a namespace take no turns."""
        share.space.types.leave(share)
        if not len(share.space.types):
            self.turns.leave(share.space)

    @property
    def is_contested(self) -> bool:
        """Whether more than one takes turns here."""
        if len(self.turns) != 1:
            return len(self.turns) > 1
        first = self.turns.first()
        return isinstance(first, SpaceShare) and len(first.types) > 1


class Fairness:
    """The charges of running attempts. `monotonic` returns seconds since any time.

    Where only one takes turns, and no limit holds up others, nothing is charged: that would change
    nothing. `counts` says whether a share is charged. When others come, all that runs is charged as
    if it was claimed then.

    What is charged counts in turns after `flush`, so that a tick moves each share only once. Then
    `on_moved` is called with it.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        on_moved: Callable[[TypeShare], None],
        counts: Callable[[TypeShare], bool],
    ) -> None:
        self._monotonic = monotonic
        self._counts = counts
        self._on_moved = on_moved
        # Three maps by task id, and no object for each: the garbage collector would look at all.
        self._shares: dict[str, TypeShare] = {}
        self._since: dict[str, float] = {}
        self._seconds: dict[str, float] = {}
        self._pending: dict[TypeShare, float] = {}
        self._look_at = monotonic()
        self.misses_some = False
        """Whether attempts may run that are not charged, though more than one takes turns."""

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._shares

    @property
    def charges_any(self) -> bool:
        """Whether an attempt is charged."""
        return bool(self._shares)

    def expect_all(self) -> None:
        """Have all running attempts charged, as more than one takes turns from now on."""
        self.misses_some = True

    def claim(self, task_id: str, share: TypeShare, seconds: float) -> None:
        """Charge a claimed attempt with the average seconds of its type."""
        self._shares[task_id] = share
        self._since[task_id] = self._monotonic()
        self._seconds[task_id] = seconds
        self._pending[share] = self._pending.get(share, 0.0) + seconds

    def settle(self, ended: Iterable[tuple[str, float | None]]) -> None:
        """Charge what ended attempts have used instead, in seconds; None: since their claim."""
        pending, pop, now = self._pending, self._shares.pop, self._monotonic()
        for task_id, seconds in ended:
            share = pop(task_id, None)
            if share is not None:
                used = now - self._since.pop(task_id)
                if seconds is not None and seconds < used:
                    used = seconds
                charged = self._seconds.pop(task_id)
                pending[share] = pending.get(share, 0.0) + used - charged

    def look(self) -> None:
        """Charge what has run longer than it was charged for, as often as this is of use."""
        now = self._monotonic()
        if now < self._look_at:
            return
        looked = 0
        for task_id, share in self._shares.items():  # the oldest first
            used = now - self._since[task_id]
            if used < LONG_SECONDS:
                break
            looked += 1
            charged = self._seconds[task_id]
            if used > charged and self._counts(share):
                self._pending[share] = self._pending.get(share, 0.0) + used - charged
                self._seconds[task_id] = used
        self._look_at = now + _LOOK_SECONDS + looked / 20_000
        self.flush()

    def flush(self) -> None:
        """Move the shares whose charges have changed to their new places."""
        for share, used in self._pending.items():
            space, seconds = share.space, used / share.slots
            share.time += seconds / share.weight
            space.time += seconds / space.weight
            space.types.push(share)
            share.pool.turns.push(space)
            self._on_moved(share)
        self._pending.clear()

    def forget(self) -> None:
        """Forget all charges, as the attempts are read again."""
        self._shares.clear()
        self._since.clear()
        self._seconds.clear()
        self._pending.clear()
        self.misses_some = True
