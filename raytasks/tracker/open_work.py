"""The open work of some task types, by which pools are sized: what waits and could run now."""

from collections.abc import Sequence

from raytasks.runner.sizing import TypeWork
from raytasks.tracker.ledger import Ledger


def open_work(ledger: Ledger, task_types: Sequence[str]) -> dict[str, TypeWork]:
    """Return the open work of these types, for those that have some or whose time is known.

    What is paused, or held back by its limits, is no open work.
    """
    ledger.claims.look_at_the_time()
    counts = ledger.lanes.open_work(task_types)
    averages, apart = ledger.fleet.averages, ledger.claims.apart
    return {
        name: TypeWork(counts.get(name, 0), averages.known(name), apart.get(name, 0.0))
        for name in task_types
        if name in counts or averages.known(name) is not None
    }
