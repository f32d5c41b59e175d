"""The tracker's health report: its own state, the database, and the runners, for `/health`."""

from typing import Any

from raytasks import __version__
from raytasks.model.steering import EVERYTHING
from raytasks.tracker.steering_view import pause_document
from raytasks.tracker.ticker import Ticker
from raytasks.tracker.work_health import MAX_NAMED, HealthReason, health_reason

MIN_SILENT_LEASES = 2.0
"""After this many leases without a commit, `/health` says so. A third of one is usual."""

_PING_SECONDS = 2.0
_MIN_SILENT_SECONDS = 10.0


async def health_of(ticker: Ticker, backlog: int, max_backlog: int) -> dict[str, Any]:
    """Return the report, after two seconds if the database does not answer reads.

    Its `reasons` are those of the tracker and the database themselves; see also `work_health`.

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
    pauses = ticker.steering.in_force(ticker.clock())
    set_aside = ticker.recovery.aside.report()
    failing = ticker.bulk.report()
    runners = [
        {
            "name": runner.name,
            "pool": runner.pool,
            "node_id": runner.node_id,
            "host": runner.host,
            "pid": runner.pid,
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
            "paused": EVERYTHING in {pause.key for pause in pauses},
            "pauses": [pause_document(pause) for pause in pauses],
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
        "reasons": _reasons(ticker, error, backlog, max_backlog),
    }


def submission_reasons(ticker: Ticker) -> list[HealthReason]:
    """Return the reasons why no submission could be committed now, from memory."""
    if not ticker.loaded.is_set():
        return [
            health_reason(
                "tracker_starting",
                "the tracker has not taken over the database yet",
                "wait some seconds; else see database.error in /health, and the log",
            )
        ]
    error = ticker.access.trouble() or ticker.recovery.aside.away()
    return [] if error is None else [_database_away()]


def _reasons(
    ticker: Ticker, error: str | None, backlog: int, max_backlog: int
) -> list[HealthReason]:
    found = submission_reasons(ticker)
    if error is not None and not any(item["code"] == "database_away" for item in found):
        found.append(_database_away())
    silent = ticker.monotonic() - ticker.access.committed_at
    if not found and silent > max(_MIN_SILENT_SECONDS, MIN_SILENT_LEASES * ticker.lease_seconds):
        found.append(
            health_reason(
                "no_commit",
                f"the tracker has committed nothing for {silent:.0f} s",
                "look at the load of its node; the watchdog replaces a tracker that hangs",
                since=ticker.clock() - silent,
            )
        )
    if backlog >= max_backlog:
        found.append(
            health_reason(
                "backlog_full",
                f"{backlog:,} tasks wait, all that RAYTASKS_MAX_BACKLOG allows; others get 429",
                "let them run with more runners, cancel some, or raise RAYTASKS_MAX_BACKLOG",
                count=backlog,
            )
        )
    found += _set_aside(ticker)
    found += ticker.recovery.care.reasons(ticker.clock())
    found += ticker.foreign.reasons()
    return found


def _database_away() -> HealthReason:
    return health_reason(
        "database_away",
        "the database cannot be used, so no submission is accepted",
        "mend the database; database.error and the log tell what it says",
    )


def _set_aside(ticker: Ticker) -> list[HealthReason]:
    aside = ticker.recovery.aside.report()
    items = [*aside["list"], *ticker.bulk.report()]
    count = aside["count"] + len(items) - len(aside["list"])
    if not count:
        return []
    named = "; ".join(f"{item['what']} ({item['error']})" for item in items[:MAX_NAMED])
    longest = max((item["seconds_ago"] for item in items), default=0.0)
    return [
        health_reason(
            "set_aside",
            f"the database refuses {count} commands: {named}",
            "the log has the error; they are kept, and tried again by themselves",
            since=ticker.clock() - longest,
            count=count,
        )
    ]
