"""The gates of a lane: those of the keys that all its tasks have."""

from collections.abc import Sequence

from raytasks.tracker.gates import Gate
from raytasks.tracker.lane_queues import Lane
from raytasks.tracker.limit_book import Limits


def gates_of(limits: Limits, lane: Lane) -> Sequence[Gate]:
    """Return the gates of a lane, which keeps them at hand from now on."""
    if lane.gates is None:
        queue = lane.queue
        lane.gates = limits.keyed_gates(queue.kind.limits, queue.namespace, lane.values)
        for gate in lane.gates:
            gate.lanes += 1
    return lane.gates


def blocking(limits: Limits, lane: Lane) -> Gate | None:
    """Return the first gate of a lane that has no room; None if all have."""
    if lane.gates is not None:
        return limits.blocking(lane.gates)
    queue = lane.queue
    if not queue.kind.limits.keyed:
        return None
    return limits.blocks_lane(queue.kind.limits, queue.namespace, lane.values)


def left_by(limits: Limits, lane: Lane) -> Sequence[Gate]:
    """Return the gates of a lane that is gone, as far as somebody uses them."""
    queue, gates = lane.queue, lane.gates
    if gates is None:
        return limits.known_gates(queue.kind.limits, queue.namespace, lane.values)
    for gate in gates:
        gate.lanes -= 1
    lane.gates = None
    return gates
