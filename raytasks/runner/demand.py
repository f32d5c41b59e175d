"""The rules for attempts that wait for resources in Ray, and which runners make room: pure rules.

Ray places what fits and ignores who came first: a large request waits for as long as small ones
come. So room is made for the longest wait first, then for the next. Warm runners beyond their
pool's minimum are retired if that frees enough. Meanwhile no runner may take those resources again.
A request that fits on no node of the cluster retires nobody. Nor does one for which Ray's
autoscaler is adding nodes.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from raytasks.protocol.messages import Demand
from raytasks.runner.node_labels import Selector, matches

WAITS_SECONDS = 1.0
"""After this time, about a process start, an attempt that has not begun counts as waiting."""

NODE_SECONDS = 300.0
"""How long an attempt that would fit a node of today waits for new nodes alone, in seconds."""

RUNNER_STARTING = "runner_starting"
NODES_COMING = "nodes_coming"
NO_RESOURCES = "no_resources"
NEVER_FITS = "never_fits"

_EPSILON = 1e-6
_MAX_OF_A_TYPE = 16
_MAX_NAMED = 100  # tasks of a demand


class Wait(NamedTuple):
    """The wait of an attempt for Ray: its type, and for how many seconds it has waited.

    With `memory`, it asks for so many bytes, instead of what others of its type ask for.
    """

    task_type: str
    seconds: float
    task_id: str = ""
    memory: float | None = None


@dataclass(frozen=True)
class Node:
    """A node of the cluster: its total and available resources by Ray's names, and its labels."""

    node_id: str
    total: Mapping[str, float]
    available: Mapping[str, float]
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Holder:
    """A warm runner that reserves `resources` on a node, and that its pool can do without.

    Without a node it still waits for its place. A `leaving` one takes no more attempts; a `busy`
    one has attempts to finish.
    """

    name: str
    node_id: str | None
    resources: Mapping[str, float]
    busy: bool = True
    leaving: bool = False


@dataclass(frozen=True)
class RoomPlan:
    """The runners to retire, and the scarce resources, which no new runner may take meanwhile."""

    retire: tuple[str, ...] = ()
    scarce: frozenset[str] = field(default_factory=frozenset)


def fits(needs: Mapping[str, float], free: Mapping[str, float]) -> bool:
    """Return whether `free` has enough of each resource in `needs`."""
    return all(free.get(name, 0.0) + _EPSILON >= amount for name, amount in needs.items())


def code_of(
    needs: Mapping[str, float],
    nodes: Sequence[Node],
    selectors: Sequence[Selector] = (),
    *,
    coming: Mapping[str, int] = MappingProxyType({}),
    seconds: float = 0.0,
) -> str:
    """Return the code of what an attempt waits for that needs this of a node, and such labels.

    `coming` has the nodes that are being added, by type. `seconds` is how long it has waited.
    After `NODE_SECONDS` it waits for room on a node of today, if it fits one.
    """
    nodes = _allowed(nodes, selectors)
    if any(fits(needs, node.available) for node in nodes):
        return RUNNER_STARTING
    fits_one = any(fits(needs, node.total) for node in nodes)
    if coming and not (fits_one and seconds > NODE_SECONDS):
        return NODES_COMING
    return NO_RESOURCES if fits_one else NEVER_FITS


def _allowed(nodes: Sequence[Node], selectors: Sequence[Selector]) -> Sequence[Node]:
    return [node for node in nodes if matches(selectors, node.labels)] if selectors else nodes


def demands_of(
    waiting: Iterable[Wait],
    needs: Mapping[str, Mapping[str, float]],
    nodes: Sequence[Node],
    selectors: Mapping[str, Sequence[Selector]] = MappingProxyType({}),
    coming: Mapping[str, int] = MappingProxyType({}),
) -> list[Demand]:
    """Return the demand of each type that waits, the longest wait first.

    `waiting` has the attempts that have not begun. By type, `needs` has the resources of one
    attempt, and `selectors` what it asks of labels. The nodes that are being added are in `coming`,
    by their types. Attempts that ask for memory of their own have a demand of their own.
    """
    alike: dict[tuple[str, float | None], list[Wait]] = {}
    for wait in waiting:
        if wait.seconds >= WAITS_SECONDS:
            alike.setdefault((wait.task_type, wait.memory), []).append(wait)
    found = []
    for (name, memory), waits in alike.items():
        asked, seconds = selectors.get(name, ()), max(wait.seconds for wait in waits)
        of_one = needs[name] if memory is None else {**needs[name], "memory": memory}
        code = code_of(of_one, nodes, asked, coming=coming, seconds=seconds)
        added = coming if code == NODES_COMING else {}
        tasks = [] if memory is None else [wait.task_id for wait in waits[:_MAX_NAMED]]
        found.append(
            Demand(name, of_one, len(waits), seconds, code, asked, coming=added, tasks=tasks)
        )
    return sorted(found, key=lambda demand: -demand.seconds)


def make_room(
    demands: Sequence[Demand], nodes: Sequence[Node], holders: Sequence[Holder]
) -> RoomPlan:
    """Return which runners are to make room for what waits, the longest wait first.

    If retiring all holders would not be enough for a request, none is retired for it: it waits for
    other work to end.
    """
    free = {node.node_id: Counter(node.available) for node in nodes}
    staying = {holder.name: holder for holder in holders if holder.node_id is not None}
    retire: list[str] = []
    scarce: set[str] = set()
    for demand in sorted(demands, key=lambda item: -item.seconds):
        if not demand.resources or demand.code in (NEVER_FITS, NODES_COMING):
            continue
        if demand.placement_group:  # no runner takes from its bundles
            continue
        allowed = _allowed(nodes, demand.selectors)
        for _ in range(min(demand.count, _MAX_OF_A_TYPE)):
            found = _place(demand.resources, allowed, free, staying)
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
    """Return the node where the fewest runners have to leave, and these; None if there is none."""
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
    # First those that leave anyway, then the idle ones, then the newest.
    for holder in sorted(there, key=lambda item: (not item.leaving, item.busy)):
        missing = {name for name, amount in needs.items() if room[name] + _EPSILON < amount}
        if not missing:
            break
        if missing & holder.resources.keys():
            room.update(holder.resources)
            going.append(holder)
    return going if fits(needs, room) else None


def _cost(going: Collection[Holder]) -> tuple[int, int]:
    """Return the cost of their leaving: how many are not leaving yet, and how many are busy."""
    told = [holder for holder in going if not holder.leaving]
    return len(told), sum(holder.busy for holder in told)


class FirstCome:
    """Holds back attempts of other types while the first in the row waits: a pure rule.

    Otherwise small remote tasks would take each processor that becomes free, and a large one would
    never find enough. Holding back may cost throughput while others run. So it alternates: on for
    `seconds`, off for `seconds`. It begins once a wait has lasted `after`. All times are in seconds
    on one clock.
    """

    def __init__(self, *, after: float = 3.0, seconds: float = 300.0) -> None:
        self._after = after
        self._seconds = seconds
        self._first: str | None = None
        self._since = 0.0

    def held_back(self, demands: Sequence[Demand], now: float) -> tuple[str, frozenset[str]] | None:
        """Return the first type in the row and the resources that only it may take, or None."""
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
