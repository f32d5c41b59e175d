"""The tracker's health report: its own state, the database, and the runners, for `/health`."""

from typing import Any

from raytasks import __version__
from raytasks.tracker.ticker import Ticker

_PING_SECONDS = 2.0


async def health_of(ticker: Ticker, backlog: int) -> dict[str, Any]:
    """Return the report, after two seconds if the database does not answer reads.

    `seconds_since_commit` is the time since the last commit. A tick commits at least every third of
    the lease, even with nothing to do.
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
