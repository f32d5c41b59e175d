"""What waits for resources in Ray, and who makes room for it: pure rules.

Ray places what fits, and knows nothing of who came first: a large request waits for as long as
small ones come. So whoever has waited longest is made room for, one after the other. Warm runners
beyond the least of their pool are retired where that is enough, and take nothing back meanwhile.
What fits on no node of the cluster takes nothing from anybody.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from raytasks.protocol.messages import Demand

WAITS_SECONDS = 1.0
"""From when on an attempt that has not begun counts as waiting: a process starts in about that."""

RUNNER_STARTING = "runner_starting"
NO_RESOURCES = "no_resources"
NEVER_FITS = "never_fits"

_EPSILON = 1e-6
_MAX_OF_A_TYPE = 16


@dataclass(frozen=True)
class Node:
    """A node of the cluster: what it has in all, and what is free of it, by Ray's names."""

    node_id: str
    total: Mapping[str, float]
    available: Mapping[str, float]


@dataclass(frozen=True)
class Holder:
    """A warm runner that reserves `resources` on a node, and that its pool can do without.

    One without a node waits for its place. `leaving` ones have been told to take nothing more;
    `busy` ones have something to finish first.
    """

    name: str
    node_id: str | None
    resources: Mapping[str, float]
    busy: bool = True
    leaving: bool = False


@dataclass(frozen=True)
class RoomPlan:
    """Which runners are to leave, and of which resources nobody may take more meanwhile."""

    retire: tuple[str, ...] = ()
    scarce: frozenset[str] = field(default_factory=frozenset)


def fits(needs: Mapping[str, float], free: Mapping[str, float]) -> bool:
    """Return whether there is enough of everything."""
    return all(free.get(name, 0.0) + _EPSILON >= amount for name, amount in needs.items())


def code_of(needs: Mapping[str, float], nodes: Sequence[Node]) -> str:
    """Return what an attempt with these needs waits for."""
    if any(fits(needs, node.available) for node in nodes):
        return RUNNER_STARTING
    return NO_RESOURCES if any(fits(needs, node.total) for node in nodes) else NEVER_FITS


def demands_of(
    waiting: Iterable[tuple[str, float]],
    needs: Mapping[str, Mapping[str, float]],
    nodes: Sequence[Node],
) -> list[Demand]:
    """Return what waits, by type, the longest wait first.

    `waiting` names the type and the seconds of each attempt that has not begun, and `needs` what
    one of a type takes.
    """
    longest: dict[str, float] = {}
    count: Counter[str] = Counter()
    for task_type, seconds in waiting:
        if seconds >= WAITS_SECONDS:
            count[task_type] += 1
            longest[task_type] = max(seconds, longest.get(task_type, 0.0))
    return [
        Demand(name, needs[name], count[name], seconds, code_of(needs[name], nodes))
        for name, seconds in sorted(longest.items(), key=lambda item: -item[1])
    ]


def make_room(
    demands: Sequence[Demand], nodes: Sequence[Node], holders: Sequence[Holder]
) -> RoomPlan:
    """Return who is to make room for what waits, the longest wait first.

    A request that not even all of the holders could make room for waits for others to end, and
    nobody is retired for it in vain.
    """
    free = {node.node_id: Counter(node.available) for node in nodes}
    staying = {holder.name: holder for holder in holders if holder.node_id is not None}
    retire: list[str] = []
    scarce: set[str] = set()
    for demand in sorted(demands, key=lambda item: -item.seconds):
        if not demand.resources or demand.code == NEVER_FITS:
            continue
        for _ in range(min(demand.count, _MAX_OF_A_TYPE)):
            found = _place(demand.resources, nodes, free, staying)
            if found is None:
                break
            node_id, leaving = found
            for holder in leaving:
                free[node_id].update(holder.resources)
                del staying[holder.name]
                if not holder.leaving:
                    retire.append(holder.name)
            free[node_id].subtract(demand.resources)
            scarce |= demand.resources.keys()
    retire += [
        holder.name
        for holder in holders
        if holder.node_id is None and not holder.leaving and scarce & holder.resources.keys()
    ]
    return RoomPlan(tuple(retire), frozenset(scarce))


def _place(
    needs: Mapping[str, float],
    nodes: Sequence[Node],
    free: Mapping[str, Mapping[str, float]],
    staying: Mapping[str, Holder],
) -> tuple[str, list[Holder]] | None:
    """Return the node where the fewest runners have to go, and these; None if there is none."""
    best: tuple[str, list[Holder]] | None = None
    for node in nodes:
        if not fits(needs, node.total):
            continue
        there = [holder for holder in staying.values() if holder.node_id == node.node_id]
        going = _fewest(needs, free[node.node_id], there)
        if going is not None and (best is None or _cost(going) < _cost(best[1])):
            best = node.node_id, going
    return best


def _fewest(
    needs: Mapping[str, float], free: Mapping[str, float], there: Sequence[Holder]
) -> list[Holder] | None:
    """Return the runners that have to leave a node, or None if all of them are not enough."""
    room, going = Counter(free), []
    # Those that leave anyway, then those that have nothing to finish, then the last ones made.
    for holder in sorted(there, key=lambda item: (not item.leaving, item.busy)):
        missing = {name for name, amount in needs.items() if room[name] + _EPSILON < amount}
        if not missing:
            break
        if missing & holder.resources.keys():
            room.update(holder.resources)
            going.append(holder)
    return going if fits(needs, room) else None


def _cost(going: Collection[Holder]) -> tuple[int, int]:
    """Return how much it costs that these leave: how many have to be told, and are busy."""
    told = [holder for holder in going if not holder.leaving]
    return len(told), sum(holder.busy for holder in told)


class FirstCome:
    """Holds back later attempts of other types while one waits that came first: a pure rule.

    Else small remote tasks would take each processor that becomes free before enough are free for
    a large one. As that may cost throughput for as long as others run, it is done for `seconds`
    at a time, and left for as long. All times are in seconds on one clock.
    """

    def __init__(self, *, after: float = 3.0, seconds: float = 300.0) -> None:
        self._after = after
        self._seconds = seconds
        self._first: str | None = None
        self._since = 0.0

    def held_back(self, demands: Sequence[Demand], now: float) -> tuple[str, frozenset[str]] | None:
        """Return the type that has the first place, and the resources that only it may take."""
        first = next(
            (
                demand
                for demand in demands
                if demand.code == NO_RESOURCES and demand.seconds >= self._after
            ),
            None,
        )
        if first is None:
            self._first = None
            return None
        if first.task_type != self._first:
            self._first, self._since = first.task_type, now
        if (now - self._since) % (2 * self._seconds) >= self._seconds:
            return None
        return first.task_type, frozenset(first.resources)
