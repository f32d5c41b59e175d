"""The limits: how many attempts run and begin, counted from what the tracker holds RUNNING.

Nothing here is stored. The counts come from the running attempts, so no slot can be lost for ever:
whatever ends an attempt frees its slots.
"""

import heapq
import math
from collections.abc import Callable, Container, Iterable, Sequence
from itertools import count
from typing import Any

from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo
from raytasks.model.steering import Steering
from raytasks.model.tasks import Running
from raytasks.tracker.fairness import TypeShare
from raytasks.tracker.gates import NO_BOUND, Gate, Key, LimitInForce, Parked
from raytasks.tracker.keyed_limits import KeyedLimits
from raytasks.tracker.put_offs import PutOffs
from raytasks.tracker.type_limits import NO_LIMITS, TypeLimits, key_of


class Limits:
    """All limits, their gates, and who waits before them.

    `monotonic` returns seconds since any time. What waits is woken by `on_wake`, which returns
    whether it is open now: it may be blocked by another gate.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._began_at = monotonic()
        self._steering = Steering()
        self._numbers = count()
        self._timers: list[tuple[float, int, Gate]] = []
        self._fading: list[tuple[float, int, Gate]] = []
        self.put_offs = PutOffs(self.left)
        self._of_type: dict[str, TypeLimits] = {}
        self.keyed = KeyedLimits()
        self._held: dict[str, Sequence[Gate]] = {}  # by task, of what runs and is counted
        self.rated_types: frozenset[str] = frozenset()
        self.ordered_types: frozenset[str] = frozenset()
        self.by_name: dict[str, LimitInForce] = {}
        self.on_wake: Callable[[Any], bool] = lambda _item: True

    def now(self) -> float:
        """Return the time by which gates have room, in seconds of the monotonic clock."""
        return self._monotonic()

    # What is declared and set

    def declare(self, infos: Iterable[HandlerInfo], running: Iterable[Running]) -> None:
        """Put the declared limits of a handlers' version in force, and count what runs again.

        Nobody may wait before a gate now.
        """
        declared: dict[str, Limit] = {}
        types: dict[str, list[str]] = {}
        keyed: dict[str, int] = {}
        infos = list(infos)
        for info in infos:
            for limit in info.limits:
                declared.setdefault(limit.name, limit)
                types.setdefault(limit.name, []).append(info.task_type)
            keyed[info.task_type] = sum(limit.by is not None for limit in info.limits)
        before, self.by_name = self.by_name, {}
        for name, limit in sorted(declared.items()):
            bounds = self._steering.bounds_of(limit)
            known = before.get(name)
            if known is None or (known.declared.by is None) != (limit.by is None):
                known = LimitInForce(limit, bounds)
            else:
                self._change(known, bounds)
                known.declared = limit
            known.types = types[name]
            many = len(known.types) > 1 or any(keyed[each] > 1 for each in known.types)
            known.is_shared_order = limit.ordered and many
            self.by_name[name] = known
        self._of_type = {info.task_type: self._limits_of(info) for info in infos if info.limits}
        self.keyed.declare(infos)
        self._note_types()
        self.recount(running)

    def _note_types(self) -> None:
        of_type = self._of_type.items()
        self.rated_types = frozenset(name for name, limits in of_type if limits.is_rated)
        self.ordered_types = frozenset(name for name, limits in of_type if limits.is_ordered)

    @property
    def types(self) -> Container[str]:
        """The types that have limits."""
        return self._of_type.keys()

    def _limits_of(self, info: HandlerInfo) -> TypeLimits:
        mine = [self.by_name[limit.name] for limit in info.limits]
        return TypeLimits(
            plain=tuple(self._gate(limit, None) for limit in mine if limit.declared.by is None),
            keyed=tuple(limit for limit in mine if limit.declared.by is not None),
            is_rated=any(limit.per_second for limit in mine),
            is_ordered=any(limit.declared.ordered for limit in mine),
            is_member=any(limit.is_shared_order for limit in mine),
        )

    def steer(self, steering: Steering) -> None:
        """Put what people have set in force; wake who may go on by that."""
        self._steering = steering
        for limit in self.by_name.values():
            bounds = steering.bounds_of(limit.declared)
            if bounds == limit.bounds:
                continue
            self._change(limit, bounds)
            for name in limit.types:
                of_it = self._of_type[name]
                rated = any(each.per_second for each in (*of_it.keyed, limit))
                rated = rated or any(gate.limit.per_second for gate in of_it.plain)
                self._of_type[name] = of_it._replace(is_rated=rated)
            self._note_types()
            for gate in list(limit.gates.values()):
                self._arm(gate)
                self._wake(gate, gate.room(self._monotonic()))

    def empty(self) -> None:
        """Empty all buckets, as a reign begins: an earlier tracker may have used them."""
        now = self._began_at = self._monotonic()
        for limit in self.by_name.values():
            for gate in limit.gates.values():
                gate.set_tokens(0.0)
                gate.at = now

    def _change(self, limit: LimitInForce, bounds: Limit) -> None:
        now = self._monotonic()
        had_rate = limit.per_second > 0
        for gate in limit.gates.values():
            gate.refill(now)
        limit.change(bounds)
        for gate in limit.gates.values():
            gate.at = now
            gate.set_tokens(min(gate.tokens, float(limit.burst)) if had_rate else 0.0)

    def recount(self, running: Iterable[Running]) -> None:
        """Count again what runs, and forget what was reserved or put off. Tokens stay."""
        for limit in self.by_name.values():
            for gate in limit.gates.values():
                gate.running = gate.ending = gate.reserved = gate.lanes = 0
                gate.put_off = gate.members = gate.parked = gate.loans = None
        for _, _, gate in self._timers:  # also those of limits that are declared no more
            gate.timer_at, gate.parked = math.inf, None
        self._timers.clear()
        self.keyed.forget_waiting()
        self.put_offs.clear()
        self._held.clear()
        for item in running:
            for gate in self._hold(item):
                gate.running += 1

    # Gates

    def of_type(self, task_type: str) -> TypeLimits:
        """Return the limits of a type."""
        return self._of_type.get(task_type, NO_LIMITS)

    def gates_of(self, task_type: str, namespace: str, limit_values: str | None) -> Sequence[Gate]:
        """Return all gates that an attempt needs room in."""
        limits = self._of_type.get(task_type)
        if limits is None:
            return ()
        if not limits.keyed:
            return limits.plain
        keyed = self.keyed_gates(limits, namespace, limit_values)
        return (*limits.plain, *keyed) if limits.plain else keyed

    def keyed_gates(
        self, limits: TypeLimits, namespace: str, limit_values: str | None
    ) -> Sequence[Gate]:
        """Return the gates of the keys of a lane."""
        return tuple(
            self._gate(limit, key_of(limit.name, namespace, limit_values)) for limit in limits.keyed
        )

    def looked_at(self, task_type: str, namespace: str, values: str | None) -> list[Gate]:
        """Return the gates of `gates_of` for somebody who only looks: no new one is kept."""
        limits, now = self.of_type(task_type), self._monotonic()
        found = list(limits.plain)
        for limit in limits.keyed:
            key = key_of(limit.name, namespace, values)
            found.append(limit.gates.get(key) or Gate(limit, key, self._began_at, now))
        return found

    def blocks_lane(
        self, limits: TypeLimits, namespace: str, limit_values: str | None
    ) -> Gate | None:
        """Return the first gate of the keys of a lane that has no room; None if all have."""
        now = self._monotonic()
        for limit in limits.keyed:
            key = key_of(limit.name, namespace, limit_values)
            gate = limit.gates.get(key)
            if gate is None and limit.per_second:
                gate = Gate(limit, key, self._began_at, now)
                if gate.room(now) <= 0:
                    limit.gates[key] = gate
            if gate is not None and gate.room(now) <= 0:
                return gate
        return None

    def _gate(self, limit: LimitInForce, key: Key | None) -> Gate:
        gate = limit.gates.get(key)
        if gate is None:
            gate = Gate(limit, key, self._began_at, self._monotonic())
            limit.gates[key] = gate
        return gate

    # What runs

    def begun(self, running: Running, gates: Sequence[Gate] | None = None) -> None:
        """Count an attempt that was claimed, and take its tokens; `gates`, if they are known."""
        for gate in self._hold(running, gates):
            gate.running += 1
            if gate.limit.per_second:
                gate.take_token(self._monotonic(), (running.task_id, running.attempt))

    def _hold(self, running: Running, gates: Sequence[Gate] | None = None) -> Sequence[Gate]:
        """Return the gates of an attempt that is counted from now on."""
        if gates is None:
            gates = self.gates_of(running.task_type, running.namespace, running.limit_values)
        if gates:
            self._held[running.task_id] = gates
        return gates

    def spend(self, gate: Gate, number: int) -> None:
        """Take tokens for claims that may have been committed."""
        for _ in range(number):
            gate.take_token(self._monotonic())

    def ended(self, running: Running, *, begun: bool = True) -> None:
        """Count an attempt no more. One that has not begun gives back its tokens."""
        for gate in self._held.pop(running.task_id, ()):
            gate.running -= 1
            if gate.limit.per_second:
                borrower = (running.task_id, running.attempt)
                gate.settle_token(self._monotonic(), borrower, begun=begun)
            self.left(gate)

    def expect_ends(self, ending: Iterable[Running]) -> list[Gate]:
        """Count the slots of attempts that the tick on its way ends; wake who may get them.

        Returns their gates, for `forget_ends`.
        """
        held = self._held
        gates = [gate for item in ending for gate in held.get(item.task_id, ())]
        for gate in gates:
            gate.ending += 1
        for gate in gates:
            self.left(gate)
        return gates

    def forget_ends(self, gates: Iterable[Gate]) -> None:
        """Take back `expect_ends`, as the tick is over."""
        for gate in gates:
            gate.ending -= 1

    def left(self, gate: Gate) -> None:
        """Wake one of each type that waits before a gate, if there is room.

        If only time is missing now, its timer is set. Before, another bound may have held it up.
        """
        if gate.parked and gate.room(self._monotonic()) > 0:
            self._wake(gate, 1)
        else:
            self._arm(gate)
        if not (gate.parked or gate.running or gate.reserved or gate.lanes):
            self._drop(gate)

    def close(self, running: Running, name: str, seconds: float) -> bool:
        """Close the gate of a limit, and of the attempt's key, for a time.

        Returns False if the attempt's type has no such limit.
        """
        until = self._monotonic() + seconds
        for gate in self.gates_of(running.task_type, running.namespace, running.limit_values):
            if gate.limit.name == name:
                gate.closed_until = max(gate.closed_until, until)
                self._arm(gate)
                self._fade(gate, gate.closed_until)
                return True
        return False

    # Who waits

    def blocking(self, gates: Iterable[Gate]) -> Gate | None:
        """Return the first gate without room; None if there is room in all."""
        now = self._monotonic()
        for gate in gates:
            if gate.room(now) <= 0:
                return gate
        return None

    def least_room(self, gates: Iterable[Gate]) -> int:
        """Return the room that all gates have."""
        now = self._monotonic()
        return min((gate.room(now) for gate in gates), default=NO_BOUND)

    def park(self, item: Parked, gate: Gate, task_type: str, place: float) -> None:
        """Have an item wait before a gate until there is room; the lowest `place` comes first."""
        gate.park(item, task_type, place, next(self._numbers))
        self._arm(gate)

    def park_again(self, share: TypeShare) -> None:
        """Give a queue that waits the place of its present time."""
        queue = share.owner
        if queue.parked_at is not None:
            self.park(queue, queue.parked_at, queue.kind.name, share.space.time)

    def _wake(self, gate: Gate, most: int) -> None:
        """Wake at most so many of each type that wait before a gate."""
        if not gate.parked or most <= 0:
            return
        for task_type in list(gate.parked):
            woken = 0
            while woken < most and (item := gate.next_parked(task_type)) is not None:
                woken += self.on_wake(item)
                if item.parked_at is gate:
                    break  # there is no room after all

    def spent(self, gate: Gate) -> None:
        """Look at a gate of which a tick has taken room: others may wait for its next token."""
        self.left(gate)
        is_shared = gate.key is None or len(gate.limit.types) > 1
        if is_shared and gate.limit.per_second and gate.room(self._monotonic()) <= 0:
            self._arm(gate, at_once=True)

    def _arm(self, gate: Gate, *, at_once: bool = False) -> None:
        """Set the timer of a gate, if somebody waits there for time to pass, or may do so soon."""
        if gate.limit.is_shared_order and gate.room(self._monotonic()) > 0:
            return  # they wait for the first of their order
        if (gate.parked or at_once) and (gate.limit.per_second or gate.closed_until > -math.inf):
            at = gate.opens_at(self._monotonic())
            if at < gate.timer_at:
                gate.timer_at = at
                heapq.heappush(self._timers, (at, next(self._numbers), gate))

    def on_time(self) -> None:
        """Wake who waited for a time that has come."""
        now = self._monotonic()
        while self._timers and self._timers[0][0] <= now:
            at, _, gate = heapq.heappop(self._timers)
            if gate.timer_at == at:
                gate.timer_at = math.inf
                self._wake(gate, gate.room(now))
                self._arm(gate)
        while self._fading and self._fading[0][0] <= now:
            gate = heapq.heappop(self._fading)[2]
            gate.fades_at = math.inf
            self._drop(gate)

    @property
    def next_time(self) -> float:
        """When `on_time` has something to do, by the monotonic clock; infinite if never."""
        while self._timers and self._timers[0][2].timer_at != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else math.inf

    def _drop(self, gate: Gate) -> None:
        """Forget the gate of a key that nobody uses; if its bucket is not full, later."""
        if gate.running or gate.reserved or gate.parked or gate.lanes:
            return
        if gate.put_off or gate.members:
            return
        if gate.key is None or gate.limit.gates.get(gate.key) is not gate:
            return
        now = self._monotonic()
        if gate.is_idle(now):
            del gate.limit.gates[gate.key]
        else:
            full_at = now
            if gate.limit.per_second:
                full_at += (gate.limit.burst - gate.tokens) / gate.limit.per_second
            self._fade(gate, max(full_at + 1e-3, gate.closed_until))

    def _fade(self, gate: Gate, at: float) -> None:
        if gate.key is not None and gate.fades_at == math.inf:
            gate.fades_at = at
            heapq.heappush(self._fading, (at, next(self._numbers), gate))
