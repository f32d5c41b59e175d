"""The schedules that stand still by themselves, with the reason and the time of the next try."""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from raytasks.model.schedule_specs import ScheduleKey
from raytasks.observe.log_record import with_fields
from raytasks.tracker.work_health import MAX_NAMED, HealthReason, health_reason

log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""Seconds until a schedule is tried again that could not be computed or stored."""


@dataclass(frozen=True, slots=True)
class HeldSchedule:
    """A schedule that stands still. Times are in seconds since the epoch."""

    error: str
    since: float
    retry_at: float


class HeldSchedules:
    """The schedules that stand still for one kind of reason; `what` they cannot says which.

    Each is logged once, not at each try.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._by_key: dict[ScheduleKey, HeldSchedule] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, key: ScheduleKey) -> bool:
        return key in self._by_key

    def __iter__(self) -> Iterator[tuple[ScheduleKey, HeldSchedule]]:
        return iter(self._by_key.items())

    def get(self, key: ScheduleKey) -> HeldSchedule | None:
        """Return how a schedule is held; None if it is not."""
        return self._by_key.get(key)

    def hold(self, key: ScheduleKey, error: str, now: float) -> HeldSchedule:
        """Hold a schedule until its next try. It stays held since the first failure."""
        known = self._by_key.get(key)
        since = now if known is None else known.since
        held = self._by_key[key] = HeldSchedule(error, since, now + RETRY_SECONDS)
        if known is None or known.error != error:
            log.error(
                "the schedule %s of the namespace %s stands still: it cannot be %s: %s; it is "
                "tried again each %d s",
                *(key.name, key.namespace, self._what, error, RETRY_SECONDS),
                extra=with_fields(schedule=key.name, namespace=key.namespace),
            )
        return held

    def release(self, key: ScheduleKey) -> None:
        """Let a schedule go on, if it is held."""
        if self._by_key.pop(key, None) is not None:
            log.info(
                "the schedule %s of the namespace %s no longer stands still",
                *(key.name, key.namespace),
                extra=with_fields(schedule=key.name, namespace=key.namespace),
            )

    def forget(self, key: ScheduleKey) -> None:
        """Drop a schedule that has ended, or that was changed."""
        self._by_key.pop(key, None)


def held_errors(held: Iterable[HeldSchedules], namespace: str) -> dict[str, str]:
    """Return why schedules of a namespace stand still, by name."""
    return {key.name: item.error for one in held for key, item in one if key.namespace == namespace}


def held_reasons(held: Iterable[HeldSchedules]) -> list[HealthReason]:
    """Return the reason that schedules stand still, if some do."""
    items = sorted((item.since, key, item.error) for one in held for key, item in one)
    if not items:
        return []
    named = "; ".join(
        f"{key.name} of the namespace {key.namespace} ({error})"
        for _, key, error in items[:MAX_NAMED]
    )
    more = len(items) - MAX_NAMED
    return [
        health_reason(
            "schedule_stands",
            f"{len(items):,} schedules stand still: {named}"
            + (f"; and {more:,} more" if more > 0 else ""),
            "for a time zone, install the zone data (tzdata) on the tracker's machine; else give "
            "the schedule other times. It is tried again each minute, and catch_up then applies",
            since=items[0][0],
            count=len(items),
        )
    ]
