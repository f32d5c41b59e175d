"""How the tracker is, and what it knows of the database and of runners, as `/health` shows it."""

from typing import Any

from raytasks import __version__
from raytasks.tracker.ticker import Ticker

_PING_SECONDS = 2.0


async def health_of(ticker: Ticker, backlog: int) -> dict[str, Any]:
    """Return the report. It takes two seconds where the database does not answer reads.

    `seconds_since_commit` tells for how long no tick was committed; when nothing is to be done,
    one is after a third of the lease.
    """
    access, monotonic = ticker.access, ticker.monotonic
    error = access.trouble() or ticker.recovery.aside.away()
    if error is None:
        try:
            await access.read(ticker.store.ping, _PING_SECONDS)
        except Exception as failure:
            error = str(failure)
    set_aside = ticker.recovery.aside.report()
    failing = ticker.bulk.report()
    runners = [
        {
            "name": runner.name,
            "pool": runner.pool,
            "node_id": runner.node_id,
            "loaded": bool(runner.capacity_by_type) or runner.leaving,
            "running": len(runner.held),
            "way": runner.way,
            "waits_for": runner.waits_for,
            "seen_seconds_ago": round(max(0.0, monotonic() - runner.seen_at), 3),
        }
        for runner in ticker.ledger.fleet
        if runner.confirmed
    ]
    return {
        "database": {"ok": error is None, "error": error},
        "tracker": {
            "ok": ticker.loaded.is_set(),
            "version": __version__,
            "epoch": ticker.epoch,
            "backlog": backlog,
            "paused": ticker.paused_at is not None,
            "seconds_since_commit": round(max(0.0, monotonic() - access.committed_at), 3),
            "set_aside": {
                "count": set_aside["count"] + len(failing),
                "list": [*set_aside["list"], *failing],
            },
        },
        "runners": {
            "ok": bool(runners),
            "count": len(runners),
            "list": runners,
        },
    }
