"""The gates of a lane: those of the keys that all its tasks have."""

from collections.abc import Sequence

from raytasks.tracker.gates import Gate
from raytasks.tracker.lane_queues import Lane
from raytasks.tracker.limit_book import Limits
from raytasks.tracker.type_limits import key_of


def gates_of(limits: Limits, lane: Lane) -> Sequence[Gate]:
    """Return the gates of a lane, which keeps them at hand from now on."""
    if lane.gates is None:
        queue = lane.queue
        lane.gates = limits.keyed_gates(queue.kind.limits, queue.namespace, lane.values)
        for gate in lane.gates:
            gate.lanes += 1
    return lane.gates


def gates_at_hand(lane: Lane | None) -> Sequence[Gate] | None:
    """Return all gates of the attempts of a lane, if it has them at hand; else None."""
    if lane is None or lane.gates is None:
        return None
    plain = lane.queue.kind.limits.plain
    return (*plain, *lane.gates) if plain else lane.gates


def blocking(limits: Limits, lane: Lane) -> Gate | None:
    """Return the first gate of a lane that lets none of its tasks begin; None if all let one.

    It has no room, or the first task of another lane surely comes before those of this one. Or it
    waits until its tasks are moved.
    """
    if lane.misplaced or (limits.keyed.closed and waits_to_move(limits, lane)):
        return limits.keyed.moving
    if lane.gates is not None:
        gate = limits.blocking(lane.gates)
        if gate is not None or not lane.queue.kind.limits.is_member:
            return gate
        return next((each for each in lane.gates if surely_before(each, lane) is not None), None)
    queue = lane.queue
    if not queue.kind.limits.keyed:
        return None
    return limits.blocks_lane(queue.kind.limits, queue.namespace, lane.values)


def waits_to_move(limits: Limits, lane: Lane) -> bool:
    """Return whether nothing of a lane is claimed until its tasks, or those of its type, moved."""
    return lane.misplaced or lane.queue.kind.name in limits.keyed.closed


def join(limits: Limits, lane: Lane) -> None:
    """Note a lane at the gates that keep an order over several lanes."""
    for gate in gates_of(limits, lane):
        if gate.limit.is_shared_order:
            if gate.members is None:
                gate.members = {}
            gate.members[lane] = None


def first_before(gate: Gate, lane: Lane) -> Lane | None:
    """Return the lane whose first task comes before those of a lane, in the order of a gate.

    None if there is no such lane. Ranks are known as bounds only: an unsure first lane has no
    `head`, and may have to be asked.
    """
    if gate.members is None or len(gate.members) < 2:
        return None
    first: Lane = min(gate.members, key=_place)
    return first if _place(first) < _place(lane) else None


def surely_before(gate: Gate, lane: Lane) -> Lane | None:
    """Return the lane of `first_before` if its first task is known."""
    first = first_before(gate, lane)
    return first if first is not None and first.head else None


def note_moved(limits: Limits, lane: Lane) -> None:
    """Wake those that may be the first of their order now: the first task of a lane is another."""
    for gate in lane.gates or ():
        if gate.members is not None:
            limits.left(gate)


def _place(lane: Lane) -> tuple[float, str]:
    return lane.floor, lane.head


def left_by(lane: Lane) -> Sequence[Gate]:
    """Return the gates of a lane that is gone, as far as somebody uses them."""
    queue, gates = lane.queue, lane.gates
    if gates is None:
        keyed = [
            limit.gates.get(key_of(limit.name, queue.namespace, lane.values))
            for limit in queue.kind.limits.keyed
        ]
        return [gate for gate in keyed if gate is not None]
    for gate in gates:
        gate.lanes -= 1
    lane.gates = None
    return gates
