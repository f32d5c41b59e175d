"""The use of limits for people: who uses them, what waits, and why a task has to wait."""

import heapq
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from raytasks.tracker import lane_gates
from raytasks.tracker.gates import Gate, LimitInForce
from raytasks.tracker.keyed_limits import waits_to_move
from raytasks.tracker.lane_book import Lanes
from raytasks.tracker.lane_queues import Lane
from raytasks.tracker.limit_view import MAX_KEYS, KeyUse, LimitUse


class Block(NamedTuple):
    """A limit that holds back a task: `is_rate` if its rate does, else what runs or waits.

    - `seconds`: when time alone makes room, from now; infinite if it does not.
    - `first`: the lane of the task that comes first in the limit's order, if only that one does.
    - `moving`: the type whose tasks are moved to other keys; the task does not begin before.
    """

    gate: Gate
    is_rate: bool
    seconds: float
    first: Lane | None = None
    moving: str = ""

    def details(self) -> dict[str, Any]:
        """Return what people are shown of it."""
        if self.moving:
            return {"limit": None, "key": None, "task_type": self.moving}
        limit, key = self.gate.limit, self.gate.key
        shown: dict[str, Any] = {"limit": limit.name, "key": None if key is None else key[1]}
        if self.is_rate:
            shown |= {"rate": limit.bounds.rate, "per_seconds": limit.bounds.per_seconds}
        else:
            shown |= {"running": self.gate.running, "bound": limit.running}
        if self.first is not None:
            shown |= {"first": self.first.head, "first_type": self.first.queue.kind.name}
        return shown

    def fix(self) -> str:
        """Return what lets the task begin."""
        if self.moving:
            return "it gets them by itself, soon"
        if self.first is not None:
            return "see what that one waits for; if it is cancelled, the next one can begin"
        return "it begins when the limit has room; 'raytasks limits set' changes the limit"

    def message(self) -> str:
        """Return in words why nothing begins."""
        if self.moving:
            return (
                f"the version in force has other limits by a value for the type {self.moving}, "
                "and its waiting tasks get their values for them first"
            )
        limit, key = self.gate.limit, self.gate.key
        name = f"the limit {limit.name}" + (f" of {key[1]!r}" if key is not None else "")
        if self.first is not None:
            task = f"the task {self.first.head} of the type {self.first.queue.kind.name}"
            return f"{task} comes before it in {name}, and has not begun"
        if not self.is_rate and self.gate.put_off:
            return f"an earlier task holds up {name}: it waits for its next attempt"
        if not self.is_rate:
            return f"{name} is full: {self.gate.running} of {limit.running} attempts run"
        if limit.bounds.rate is None:
            return f"a handler has closed {name}"
        return f"{name} lets no attempt begin now"


def blocks(gates: Sequence[Gate], now: float, lane: Lane | None) -> Iterator[Block]:
    """Yield the limits that let no task of a lane begin, by the monotonic clock."""
    if lane is not None and (gate := lane.parked_at) is not None and waits_to_move(gate):
        yield Block(gate, is_rate=False, seconds=math.inf, moving=lane.queue.kind.name)
        return
    for gate in gates:
        if gate.room(now) + gate.reserved <= 0:  # what a tick has reserved may be this task's
            at = gate.opens_at(now)
            yield Block(gate, at < math.inf, at - now)
        elif lane is not None and (first := lane_gates.surely_before(gate, lane)) is not None:
            yield Block(gate, is_rate=False, seconds=math.inf, first=first)


def use_of(lanes: Lanes, limit: LimitInForce, now: float) -> LimitUse:
    """Return the use of a limit now, by the monotonic clock. It looks at all its keys in use."""
    plain = limit.gates.get(None)
    fullest = heapq.nlargest(
        MAX_KEYS, (gate for key, gate in limit.gates.items() if key is not None), key=_fullness
    )
    return LimitUse(
        running=sum(gate.running for gate in limit.gates.values()),
        waiting=sum(map(lanes.ready_of, limit.types)),
        tokens=None if plain is None else _tokens(plain, now),
        fullest=[
            KeyUse(key[0], key[1], gate.running, _parked(gate), _tokens(gate, now))
            for gate in fullest
            if (key := gate.key) is not None and _fullness(gate) > (0, 0)
        ],
    )


def in_metrics(lanes: Lanes) -> list[tuple[str, int, int | None, int]]:
    """Return for each limit its name, what runs, its bound, and how many ready tasks wait.

    The bound is None for a limit by a value, and without one. The tasks are all of its types that
    cannot be claimed now, whatever holds them back.
    """
    return [
        (
            limit.name,
            sum(gate.running for gate in limit.gates.values()),
            limit.running if limit.declared.by is None else None,
            sum(lanes.ready_of(name) - lanes.open_of(name) for name in limit.types),
        )
        for limit in lanes.limits.by_name.values()
    ]


def _fullness(gate: Gate) -> tuple[int, int]:
    waits = sum(map(len, gate.parked.values())) if gate.parked else 0
    return gate.running, waits


def _parked(gate: Gate) -> int:
    """Return how many ready tasks wait before the gate of a key."""
    items = {
        id(item): item.count
        for heap in (gate.parked or {}).values()
        for _, _, item in heap
        if item.parked_at is gate
    }
    return sum(items.values())


def _tokens(gate: Gate, now: float) -> float | None:
    if not gate.limit.per_second:
        return None
    gate.refill(now)
    return round(max(0.0, gate.tokens), 3)
