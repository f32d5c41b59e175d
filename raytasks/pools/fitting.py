"""The change of a pool's size: from its runners, its open work and its bounds."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from raytasks.pools.declared_pools import DeclaredPool
from raytasks.pools.roster import PooledRunner, RunnerView, Tracked
from raytasks.runner.nested import NestedWaits
from raytasks.runner.sizing import (
    PeakWindow,
    PoolState,
    RunnerLoad,
    SizeRule,
    SlotUse,
    StartTimes,
    change_of_size,
    missing_runners,
)

LEAVING_SECONDS = 5.0
"""How long a runner that leaves by itself counts as one of its pool. Then another replaces it."""

_LOOKED_AT = 256  # attempts of one runner; the others are taken to be like them


@dataclass
class Fit:
    """The runners of a pool at one moment, and how many to add (positive) or to retire.

    `leaving` are those that may retire, the first ones first.
    """

    change: int = 0
    starting: int = 0
    leaving: list[PooledRunner] = field(default_factory=list)


class Fitting:
    """Finds out how pools have to change. It remembers what each needed lately."""

    def __init__(self, tracked: Tracked, nested: NestedWaits) -> None:
        self._tracked = tracked
        self._nested = nested
        self.starts = StartTimes()
        self._peaks: dict[str, PeakWindow] = {}

    async def fit(
        self,
        pool: DeclaredPool,
        mine: Sequence[PooledRunner],
        states: Mapping[str, RunnerView],
        own: SizeRule,
        keep_seconds: float,
    ) -> Fit:
        """Return how a pool has to change.

        `mine` has its runners that are not retired. `own` is its rule, without what others may be
        there for those that wait for tasks. What was needed within `keep_seconds` stays.
        """
        now = time.monotonic()
        known = {
            runner.name: state
            for runner in mine
            if (state := states.get(runner.name)) is not None
            and (state.capacity_by_type or state.held)
        }
        starting = [runner for runner in mine if runner.name not in known]
        idle = [
            runner
            for runner in mine
            if runner.name in known and runner.is_idle(known[runner.name], now)
        ]
        busy = [runner for runner in mine if runner.name in known and runner not in idle]
        rule = self._nested.rule(pool.name, own, len(mine), known.values())
        work = {} if pool.is_remote else await self._tracked.demand(pool.task_types)
        start_seconds = self.starts.get(pool.name)
        loads = [_load(state, time.time()) for state in known.values()]
        loads += [
            RunnerLoad(ready_in=max(0.0, start_seconds - (now - runner.active_at)))
            for runner in starting
        ]
        missing = missing_runners(work, pool.slots, loads, start_seconds)
        waiting = sum(item.open for item in work.values())
        needed = len(busy) + missing + min(len(idle), waiting)
        peaks = self._peaks.setdefault(pool.name, PeakWindow())
        now_there = PoolState(
            waiting=waiting > 0,
            busy=len(busy),
            starting_seconds=tuple(now - runner.active_at for runner in starting),
            idle_seconds=tuple(now - runner.active_at for runner in idle),
            missing=missing,
            peak=peaks.add(now, needed, keep_seconds),
        )
        # Runners in the highest slots leave first: only they reserve a processor.
        free = sorted([*idle, *starting], key=lambda runner: -runner.slot)
        leaving = [*free, *sorted(busy, key=lambda runner: -runner.slot)]
        return Fit(change_of_size(now_there, rule), len(starting), leaving)


def counts_as_leaving(runner: PooledRunner, state: RunnerView | None, now: float) -> bool:
    """Return whether a runner leaves by itself and takes long for it, as an attempt is stuck."""
    if state is None or not state.leaving:
        runner.leaving_since = None
    elif runner.leaving_since is None:
        runner.leaving_since = now
    return runner.leaving_since is not None and now - runner.leaving_since > LEAVING_SECONDS


def _load(state: RunnerView, now: float) -> RunnerLoad:
    held = [
        SlotUse(item.task_type, max(0.0, now - (item.started_at or item.claimed_at)))
        for item in islice(state.held.values(), _LOOKED_AT)
    ]
    return RunnerLoad(
        held,
        ready_in=float("inf") if state.leaving else 0.0,
        more=len(state.held) / len(held) if held else 1.0,
        apart=any(item.company is not None for item in state.held.values()),
    )
