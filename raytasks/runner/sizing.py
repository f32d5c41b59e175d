"""The rule for the size of a pool: how many runners it should have. Pure functions.

A pool grows at once to what its open work asks for, by the measured running times. It shrinks
slowly: only what was not needed for a while leaves.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

GROWTH_SECONDS = 2.0
"""Seconds of work that make a further runner worth its start."""

START_SECONDS = 2.0
"""How long the start of a runner takes that was never measured, in seconds."""

GUESSED_SECONDS = 0.2
"""The running time of a type that never ran, in seconds."""

_SHORTEST_SECONDS = 1e-4
_ALMOST = 1e-6


@dataclass(frozen=True)
class PoolState:
    """A pool as it is now.

    - `waiting`: whether tasks of the pool's types wait and could run.
    - `busy`: how many runners hold attempts.
    - `starting_seconds`: for each runner that was not heard of yet, the time since its start.
    - `idle_seconds`: for each idle runner, the time since it last had something to do.
    - `missing`: how many more runners the open work asks for.
    - `peak`: the most runners that were needed at once lately; None if that is not known yet.
    """

    waiting: bool
    busy: int
    starting_seconds: tuple[float, ...]
    idle_seconds: tuple[float, ...]
    missing: int = 0
    peak: int | None = None

    @property
    def size(self) -> int:
        """The number of its runners."""
        return self.busy + len(self.starting_seconds) + len(self.idle_seconds)


@dataclass(frozen=True)
class SizeRule:
    """The bounds of a pool, from `least` to `most` runners, and when it shrinks.

    With `spare`, an idle runner is kept ready beside the busy ones: it takes over at once when one
    of them has to be ended. Another runner leaves when it has been idle longer than
    `idle_limit_seconds`. One that has not started within `start_limit_seconds` leaves too, unless
    tasks wait for it.
    """

    least: int
    most: int
    idle_limit_seconds: float
    start_limit_seconds: float
    spare: bool = False


@dataclass(frozen=True)
class TypeWork:
    """The work of a type: how many tasks wait and could run now, and how long one runs.

    - `seconds`: the average running time; None if no task of the type has ended yet.
    - `apart`: how many empty runners those of them need that may not run beside others.
    """

    open: int
    seconds: float | None = None
    apart: float = 0.0

    @property
    def empty_runners(self) -> float:
        """How many empty runners it needs at most."""
        return min(self.apart, self.open)


@dataclass(frozen=True)
class SlotUse:
    """An attempt that a runner holds, and the seconds since it began."""

    task_type: str
    seconds: float


@dataclass(frozen=True)
class RunnerLoad:
    """The load of a runner: what it holds, and in how many seconds it can begin something new.

    With `more`, it holds that many attempts for each one that is named. With `apart`, no others may
    begin beside them.
    """

    held: Sequence[SlotUse] = ()
    ready_in: float = 0.0
    more: float = 1.0
    apart: bool = False


@dataclass(frozen=True)
class SlotPlan:
    """The slots of each of a pool's runners: by type, or a single one for all types together."""

    by_type: Mapping[str, int] | None = None

    def group(self, task_type: str) -> str:
        """Return the name of the slots that a type takes; empty if all types share one."""
        return "" if self.by_type is None else task_type

    def slots(self, group: str) -> int:
        """Return how many attempts fit into a group's slots at a time."""
        return 1 if self.by_type is None else max(1, self.by_type.get(group, 1))


def change_of_size(pool: PoolState, rule: SizeRule) -> int:
    """Return how many runners to add (positive) or to remove (negative).

    Beyond the most, busy runners leave too, when their attempts have ended.
    """
    starting, idle, size = len(pool.starting_seconds), len(pool.idle_seconds), pool.size
    if size > rule.most:
        return rule.most - size
    wanted = pool.missing
    if (rule.spare and pool.busy and not idle and not starting) or (pool.waiting and not size):
        wanted = max(wanted, 1)
    growth = min(max(wanted, rule.least - size), rule.most - size)
    if growth > 0:
        return growth
    tired = sum(seconds > rule.idle_limit_seconds for seconds in pool.idle_seconds)
    in_use = tired < idle or pool.waiting
    if pool.waiting:
        tired = 0  # they are about to get something
    if pool.peak is not None:
        needed = max(pool.peak, in_use)
        tired = max(tired, min(idle, size - needed - (rule.spare and needed > 0)))
    if not pool.waiting:
        tired += sum(seconds > rule.start_limit_seconds for seconds in pool.starting_seconds)
    kept = pool.busy + 1 if rule.spare and pool.busy else 0
    return -max(0, min(tired, size - max(rule.least, kept)))


def missing_runners(
    work: Mapping[str, TypeWork],
    slots: SlotPlan,
    loads: Sequence[RunnerLoad],
    start_seconds: float = START_SECONDS,
) -> int:
    """Return how many more runners a pool needs to begin its open work within a few seconds.

    `loads` has the runners that it has. What they begin before a new runner would be worth its
    start needs none: that is within `start_seconds` and `GROWTH_SECONDS`.
    """
    horizon = start_seconds + GROWTH_SECONDS
    oldest = _oldest(loads)
    ends = [_ends(load, slots, work) for load in loads]
    empty = [
        load.ready_in + max((max(group) for group in held.values()), default=0.0)
        for load, held in zip(loads, ends, strict=True)
    ]
    apart = math.ceil(sum(item.empty_runners for item in work.values()) - _ALMOST)
    # These take nothing more until they are empty, or others are; see `tracker.sharing`.
    kept = set(sorted(range(len(loads)), key=empty.__getitem__)[:apart])
    lacking = apart - sum(empty[index] <= horizon for index in kept)
    missing = 0
    for group, types in _grouped(work, slots).items():
        tasks = sum(work[name].open for name in types)
        if not tasks:
            continue
        begun_apart = sum(work[name].empty_runners for name in types)
        mean = sum(_seconds(name, work, oldest) * work[name].open for name in types) / tasks
        size = slots.slots(group)
        able = begun_apart
        for index, (load, held) in enumerate(zip(loads, ends, strict=True)):
            if load.apart:
                able += 0 if index in kept else size * _rounds(horizon - empty[index], mean)
            elif index not in kept:
                able += _begun(load, held.get(group, ()), size, mean, horizon)
            elif empty[index] > horizon:  # new runners take its place
                able += _begun(load, held.get(group, ()), size, mean, GROWTH_SECONDS)
        by_one = size * _rounds(GROWTH_SECONDS, mean)
        missing = max(missing, math.ceil((tasks - able) / by_one))
    return missing + lacking


class PeakWindow:
    """The most runners that a pool needed at once within the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def add(self, now: float, needed: int, seconds: float) -> int | None:
        """Add what is needed now; return the peak of the last `seconds`.

        It is None until the window has been looked at for as long as that.
        """
        self._seen.append((now, needed))
        while len(self._seen) > 1 and self._seen[1][0] <= now - seconds:
            self._seen.popleft()
        if self._seen[0][0] > now - seconds:
            return None
        return max(needed for _, needed in self._seen)


@dataclass
class StartTimes:
    """The measured start times of each pool's runners, in seconds: the last one counts."""

    max_seconds: float = 30.0
    _known: dict[str, float] = field(default_factory=dict)

    def add(self, pool: str, seconds: float) -> None:
        """Add how long the start of a runner took."""
        self._known[pool] = min(self.max_seconds, max(START_SECONDS, seconds))

    def get(self, pool: str) -> float:
        """Return how long the start of a runner takes."""
        return self._known.get(pool, START_SECONDS)


def _grouped(work: Mapping[str, TypeWork], slots: SlotPlan) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in work:
        groups.setdefault(slots.group(name), []).append(name)
    return groups


def _oldest(loads: Iterable[RunnerLoad]) -> dict[str, float]:
    """Return for how many seconds the oldest attempt of each type runs."""
    oldest: dict[str, float] = {}
    for load in loads:
        for held in load.held:
            oldest[held.task_type] = max(held.seconds, oldest.get(held.task_type, 0.0))
    return oldest


def _seconds(name: str, work: Mapping[str, TypeWork], oldest: Mapping[str, float]) -> float:
    """Return the running time of a type. One that never ended takes as long as it runs already."""
    known = work[name].seconds
    if known is not None:
        return max(_SHORTEST_SECONDS, known)
    return max(GUESSED_SECONDS, oldest.get(name, 0.0))


def _ends(
    load: RunnerLoad, slots: SlotPlan, work: Mapping[str, TypeWork]
) -> dict[str, list[float]]:
    """Return in how many seconds the attempts of a runner end, by the group of their slots."""
    if slots.by_type is None:  # what it holds runs one after the other
        queued = [_average(held, work) for held in load.held[1:]]
        return {"": [sum(queued, _left(load.held[0], work))]} if load.held else {}
    ends: dict[str, list[float]] = {}
    for held in load.held:
        ends.setdefault(slots.group(held.task_type), []).append(_left(held, work))
    return ends


def _begun(
    load: RunnerLoad, ends: Sequence[float], size: int, mean: float, horizon: float
) -> float:
    """Return how many tasks the slots of a runner begin within the horizon."""
    left = horizon - load.ready_in
    free = max(0.0, size - len(ends) * load.more)
    begun = free * _rounds(left, mean) + load.more * sum(_rounds(left - end, mean) for end in ends)
    return min(begun, size * _rounds(left, mean))


def _left(held: SlotUse, work: Mapping[str, TypeWork]) -> float:
    """Return how long an attempt still runs.

    One that runs for longer than the others did runs on for as long as it is late.
    """
    return abs(_average(held, work) - held.seconds)


def _average(held: SlotUse, work: Mapping[str, TypeWork]) -> float:
    known = work[held.task_type].seconds if held.task_type in work else None
    return GUESSED_SECONDS if known is None else known


def _rounds(seconds: float, mean: float) -> int:
    """Return how many tasks one slot begins within some seconds."""
    return 0 if seconds < 0 else 1 + int(seconds / mean)
