"""The open work of some task types, by which pools are sized: what waits and could run now."""

from collections.abc import Sequence

from raytasks.runner.sizing import TypeWork
from raytasks.tracker.ticker import Ticker

MAX_COUNTED = 10_000
"""How many ready tasks are counted at most. More of them ask for no other size."""


async def open_work(ticker: Ticker, task_types: Sequence[str]) -> dict[str, TypeWork]:
    """Return the open work of these types, for those that have some or whose time is known.

    Paused types have no open work. Raises `StoreUnavailable`.
    """
    ledger = ticker.ledger
    waiting = [name for name in task_types if ledger.waiting(name) and not _is_paused(ticker, name)]
    counts: dict[str, int] = {}
    if waiting:
        counts = await ticker.access.read(lambda: ticker.store.count_ready(waiting, MAX_COUNTED))
    averages = ledger.fleet.averages
    return {
        name: TypeWork(counts.get(name, 0), averages.known(name))
        for name in task_types
        if name in counts or averages.known(name) is not None
    }


def _is_paused(ticker: Ticker, task_type: str) -> bool:
    return ticker.steering.pause_of("", task_type, ticker.clock()) is not None
