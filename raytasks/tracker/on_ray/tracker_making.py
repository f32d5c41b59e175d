"""The tracker of this cluster, made as the settings say."""

import platform

import ray

from raytasks.observe.log_stream import LogStream
from raytasks.settings import Settings
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker


def tracker_of(settings: Settings, stream: LogStream) -> Tracker:
    """Return a tracker that waits for its handlers. Call it in the tracker's actor."""
    tracker = Tracker(
        Store(settings.database_url, priority_step=settings.priority_step_seconds),
        lease_seconds=settings.lease_seconds,
        max_crashes=settings.max_crashes,
        max_backlog=settings.max_backlog,
        owner=ray.get_runtime_context().get_actor_id() or "",
        host=platform.node(),
        alone=settings.uses_sqlite,
        log=stream,
    )
    tracker.ticker.ledger.claims.awaits_handlers = True
    return tracker
