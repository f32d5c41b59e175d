"""The metrics of a tracker, from its memory: totals, tasks, durations, runners, its own state."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from raytasks import __version__
from raytasks.model.states import FINAL, OutcomeKind, State
from raytasks.model.steering import EVERYTHING
from raytasks.model.tasks import StoreUnavailable
from raytasks.pools.cluster_view import ClusterNode
from raytasks.protocol.metrics_data import MetricsData
from raytasks.store.count_changes import (
    ATTEMPTS,
    CHARGED,
    EXPIRED,
    FINISHED,
    LATE,
    RETRIED,
    SUBMITTED,
)
from raytasks.tracker.fleet import RunnerState
from raytasks.tracker.histograms import BOUNDS, Histograms, Pair
from raytasks.tracker.limit_use import in_metrics
from raytasks.tracker.oldest_due import OldestDue
from raytasks.tracker.ticker import Ticker

if TYPE_CHECKING:
    from raytasks.tracker.observer import Observer

TOTALS = (
    SUBMITTED,
    RETRIED,
    *(f"{FINISHED}{state}" for state in State if state in FINAL),
    *(f"{ATTEMPTS}{kind}" for kind in OutcomeKind),
    CHARGED,
    LATE,
    EXPIRED,
)
"""The totals that each pair has, in order; also those that are zero."""

STARTING, IDLE, BUSY, LEAVING = "starting", "idle", "busy", "leaving"
RUNNER_STATES = (STARTING, IDLE, BUSY, LEAVING)

_COMPLETED = f"{FINISHED}{State.COMPLETED}"
_SUCCEEDED = f"{ATTEMPTS}{OutcomeKind.SUCCEEDED}"

_START_SECONDS = 3.0


async def metrics_of(ticker: Ticker, oldest: OldestDue, observer: "Observer") -> MetricsData:
    """Return all metrics. What the database alone knows is at most some seconds old.

    Numbers that only grow are those of what is on disk.
    """
    ledger = ticker.ledger
    loaded = await _is_loaded(ticker)
    ages = await oldest.seconds() if loaded else {}
    pauses = ticker.steering.in_force(ticker.clock())
    data = MetricsData(
        version=__version__,
        epoch=ticker.epoch,
        store_up=(ticker.access.trouble() or ticker.recovery.aside.away()) is None,
        paused=any(pause.key == EVERYTHING for pause in pauses),
        pauses=len(pauses),
        loaded=loaded,
        runners=runners_by_state(ledger.fleet),
    )
    if not loaded:
        return data
    histograms = ledger.stats.histograms
    pairs = dict.fromkeys((space, name) for space, name, _ in (*ledger.totals, *ledger.tasks))
    histograms.admit(pairs)
    # Also of types of which nothing waits: an age of 0 says more than no series.
    known = sorted({name for (name, _), n in ledger.counts.items() if n})
    data.oldest_due = {name: ages.get(name, 0.0) for name in known}
    data.ready = {
        pool.name: sum(map(ledger.lanes.open_of, pool.task_types))
        for pool in observer.outlook.pools()
    }
    data.limits = in_metrics(ledger.lanes)
    data.schedules = ticker.schedules.in_metrics(ticker.clock())
    data.held_schedules = sum(map(len, ticker.background.schedules.all_held))
    outbox, earlier = observer.outbox(), observer.earlier_clusters()
    data.earlier = len(earlier), sum(cluster["running"] for cluster in earlier)
    data.outbox = outbox.rows, outbox.seconds(ticker.clock()), outbox.set_aside
    data.totals = _totals(ledger.totals, pairs, histograms)
    data.tasks = _tasks(ledger.tasks, pairs, histograms)
    data.bounds, data.durations = BOUNDS, histograms.view()
    return data


async def _is_loaded(ticker: Ticker) -> bool:
    """Return whether all is read from the database. A new tracker is waited for a little."""
    if not await ticker.is_loaded(_START_SECONDS):
        return False
    with contextlib.suppress(StoreUnavailable):
        await ticker.ledger.stats.read_back(_START_SECONDS)
    return ticker.ledger.stats.restored


def runners_by_state(runners: Iterable[RunnerState]) -> list[tuple[str, str, int]]:
    """Return the number of runners by pool and state, as far as they have called."""
    counts: Counter[tuple[str, str]] = Counter()
    for runner in runners:
        if runner.confirmed:
            counts[runner.pool, state_of(runner)] += 1
    return with_starting(((*key, number) for key, number in counts.items()), {})


def with_starting(
    runners: Iterable[tuple[str, str, int]], starting: Mapping[str, int]
) -> list[tuple[str, str, int]]:
    """Return numbers of runners together with those that have not called yet, by pool."""
    counts = Counter({(pool, state): number for pool, state, number in runners})
    for pool, number in starting.items():
        counts[pool, STARTING] += number
    pools = sorted({pool for pool, _ in counts})
    return [(pool, state, counts[pool, state]) for pool in pools for state in RUNNER_STATES]


def nodes_by_state(nodes: Iterable[ClusterNode]) -> dict[str, int]:
    """Return how many nodes are alive and stay, and how many leave."""
    leaves = [node.leaving for node in nodes if node.alive]
    return {"alive": leaves.count(False), LEAVING: leaves.count(True)}


def state_of(runner: RunnerState) -> str:
    """Return the state of a runner that has called."""
    if runner.leaving or runner.retiring:
        return LEAVING
    if not runner.capacity_by_type:
        return STARTING  # its handlers are not loaded
    return BUSY if runner.held else IDLE


def _totals(
    totals: Mapping[tuple[str, str, str], int], pairs: Iterable[Pair], histograms: Histograms
) -> list[tuple[str, str, str, int]]:
    shown: dict[Pair, Counter[str]] = {}
    for pair in pairs:
        sums = shown.setdefault(histograms.place(pair), Counter())
        for name in TOTALS:
            # What succeeded is what became COMPLETED: it is stored only once.
            kept = _COMPLETED if name == _SUCCEEDED else name
            sums[name] += totals.get((*pair, kept), 0)
    return [(*pair, name, sums[name]) for pair, sums in sorted(shown.items()) for name in TOTALS]


def _tasks(
    counts: Mapping[tuple[str, str, State], int], pairs: Iterable[Pair], histograms: Histograms
) -> list[tuple[str, str, str, int]]:
    shown: dict[Pair, Counter[State]] = {}
    for pair in pairs:
        sums = shown.setdefault(histograms.place(pair), Counter())
        for state in State:
            sums[state] += counts.get((*pair, state), 0)
    return [(*pair, state, sums[state]) for pair, sums in sorted(shown.items()) for state in State]
