"""The schedules as clients see them, without what their handlers keep secret."""

from itertools import islice
from typing import Any

from msgspec import Raw

from raytasks.api.route_service import Service
from raytasks.handling.schedule_times import Timing, times_after
from raytasks.model.schedule_specs import ScheduleRow, ScheduleSpec
from raytasks.model.time_text import rfc3339

NEXT_TIMES = 5
"""How many of its next times are shown with a schedule."""


def schedule_document(
    service: Service, row: ScheduleRow, *, ended: bool = False, error: str | None = None
) -> dict[str, Any]:
    """Return a schedule for a caller who operates. If it has `ended`, nothing of it is in force.

    With an `error` it stands still, so it has no next times.
    """
    override = None
    if row.override is not None and not ended:
        changed = {"changed_at": rfc3339(row.changed_at), "by": row.by}
        override = {**_spec(service, row.override), **changed}
    return {
        "namespace": row.namespace,
        "name": row.name,
        "declared": None if row.declared is None else _spec(service, row.declared),
        "override": override,
        "in_force": None if ended else _spec(service, row.spec),
        "next_times": [] if ended or error is not None else _next_times(row),
        "last_scheduled_for": rfc3339(row.last_for),
        "last_at": rfc3339(row.last_at),
        "last_task_id": row.last_task_id,
        "paused": None
        if row.paused_at is None
        else {"since": rfc3339(row.paused_at), "by": row.paused_by},
        "error": error,
    }


def _next_times(row: ScheduleRow) -> list[str | None]:
    if row.paused_at is not None or not row.has_next:
        return []
    spec = row.spec
    timing = Timing(spec.cron, spec.every_seconds, spec.timezone, row.anchor_at)
    try:
        others = list(islice(times_after(timing, row.next_at), NEXT_TIMES - 1))
    except Exception:  # only this machine lacks its time zone, maybe
        others = []
    return [rfc3339(at) for at in (row.next_at, *others)]


def _spec(service: Service, spec: ScheduleSpec) -> dict[str, Any]:
    handler = service.registry.get(spec.task_type)
    mask = None if handler is None else handler.mask_for(operates=True)
    payload = spec.payload if mask is None else mask.hide(spec.payload).text
    return {
        "task_type": spec.task_type,
        "cron": spec.cron,
        "every_seconds": spec.every_seconds,
        "timezone": spec.timezone,
        "payload": Raw(payload.encode()),
        "catch_up": spec.catch_up.value,
        "max_catch_up": spec.max_catch_up,
        "overlap": spec.overlap.value,
        "priority": spec.priority,
        "max_attempts": spec.max_attempts,
        "timeout_seconds": spec.timeout_seconds,
        "tags": [] if spec.tags is None else Raw(spec.tags.encode()),
        "limit_values": spec.given_values or {},
        "expires_seconds": spec.expires_seconds,
    }
