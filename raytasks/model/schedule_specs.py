"""Schedules: the times at which tasks of a type are submitted by the service itself.

Data only. Times are in seconds since the epoch (UTC). What computes the times is
`raytasks.handling.schedule_times`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from msgspec import Struct

from raytasks.model.bounds import NAMESPACE
from raytasks.model.controls import NAME
from raytasks.model.tasks import DEFAULT_NAMESPACE

MIN_EVERY, MAX_EVERY = 1.0, 366 * 86_400.0
"""The bounds of `every_seconds`."""

MAX_CATCH_UP = 1000
"""The highest `max_catch_up`."""

MAX_CRON = 200
"""The longest cron expression, in characters."""

MAX_SCHEDULE_PAYLOAD = 64 * 1024
"""The largest payload of a schedule, in bytes of JSON."""

LATE_SECONDS = 300.0
"""How late a time may be that is not missed yet: a tracker that was restarted is that late."""

_NAME = re.compile(NAME)
_NAMESPACE = re.compile(NAMESPACE)


class CatchUp(StrEnum):
    """The rule for times that passed while the service was away."""

    NONE = "none"  # they are skipped
    LAST = "last"  # the newest of them gets its task
    ALL = "all"  # each gets its task, up to a maximum


class Overlap(StrEnum):
    """The rule for a time while the last task of the same schedule is open."""

    ALLOW = "allow"  # it gets its task
    SKIP = "skip"  # it is skipped


@dataclass(frozen=True)
class Schedule:
    """A schedule of a handler: at its times the service submits a task by itself.

    - `cron`: five fields, as in `0 9 * * MON-FRI`: minute, hour, day, month, weekday; in the time
      zone `timezone`. Or `every_seconds`: at least 1, counted from when the schedule began.
    - `payload`: the payload of each task; it has to fit the handler's model.
    - `catch_up`: the rule for times that passed while the service was away: `none` skips them.
      With `last` there is one task; with `all`, one for each of the newest `max_catch_up`.
    - `overlap`: with `skip`, a time is skipped while the last task of the schedule is open.
    - `namespace`: where its tasks are. A name stands for one schedule in a namespace.
    - `priority`, `max_attempts`, `timeout_seconds`, `tags`, `limit_values`, `expires_seconds`: as
      in a submission.

    Raises `ValueError`.
    """

    name: str
    cron: str | None = None
    every_seconds: float | None = None
    timezone: str = "UTC"
    payload: Any = None
    catch_up: str = CatchUp.NONE
    max_catch_up: int = 100
    overlap: str = Overlap.ALLOW
    namespace: str = DEFAULT_NAMESPACE
    priority: int = 0
    max_attempts: int | None = None
    timeout_seconds: float | None = None
    tags: Sequence[str] = ()
    limit_values: Mapping[str, str | int | bool | None] | None = None
    expires_seconds: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise ValueError(
                f"Schedule: bad name {self.name!r}: a letter, then up to 62 letters, digits, . _ -"
            )
        if not isinstance(self.namespace, str) or not _NAMESPACE.fullmatch(self.namespace):
            raise ValueError(
                f"Schedule {self.name!r}: bad namespace {self.namespace!r}: 1 to 63 of a-z, 0-9 "
                "and dashes"
            )
        if (self.cron is None) == (self.every_seconds is None):
            raise ValueError(f"Schedule {self.name!r}: give cron= or every_seconds=, one of them")
        if isinstance(self.tags, str):
            raise ValueError(
                f"Schedule {self.name!r}: tags must be a list of texts, not {self.tags!r}"
            )


class ScheduleSpec(Struct, frozen=True, omit_defaults=True):
    """A checked schedule: when it fires, and what it submits. See `Schedule`.

    `payload` is JSON text; so is `tags`, a list, or None. `given_values` are the limit values that
    do not come from the payload.
    """

    task_type: str
    payload: str
    max_attempts: int
    cron: str | None = None
    every_seconds: float | None = None
    timezone: str = "UTC"
    catch_up: CatchUp = CatchUp.NONE
    max_catch_up: int = 100
    overlap: Overlap = Overlap.ALLOW
    priority: int = 0
    timeout_seconds: float | None = None
    tags: str | None = None
    given_values: dict[str, str | int | bool | None] | None = None
    expires_seconds: float | None = None

    @property
    def timing(self) -> tuple[str | None, float | None, str]:
        """The parts on which its times depend."""
        return self.cron, self.every_seconds, self.timezone


class ScheduleKey(NamedTuple):
    """The key of a schedule: its namespace and its name."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class DeclaredSchedule:
    """A schedule that a handler declares, checked."""

    key: ScheduleKey
    spec: ScheduleSpec


class ScheduleRow(Struct, frozen=True, omit_defaults=True):
    """A schedule as stored: what is declared and set, and how far it is.

    - `declared`: what the handlers' version in force declares; None if nothing.
    - `override`: what a person has set instead; `changed_at` and `by` say when, and who.
    - `next_at`: the next time. It only grows. `anchor_at`: from when `every_seconds` count. The two
      are equal if the first time after `anchor_at` could not be computed yet: see `has_next`.
    - `last_for`: the last time that got a task, and `last_task_id` the task, made at `last_at`.
    - `paused_at`, `paused_by`: since when a person has paused it, and who.
    """

    namespace: str
    name: str
    next_at: float
    anchor_at: float
    declared: ScheduleSpec | None = None
    override: ScheduleSpec | None = None
    changed_at: float | None = None
    by: str | None = None
    paused_at: float | None = None
    paused_by: str | None = None
    last_for: float | None = None
    last_at: float | None = None
    last_task_id: str | None = None

    @property
    def key(self) -> ScheduleKey:
        """Its namespace and its name."""
        return ScheduleKey(self.namespace, self.name)

    @property
    def has_next(self) -> bool:
        """Whether `next_at` is one of its times: each of them is after `anchor_at`."""
        return self.next_at > self.anchor_at

    @property
    def spec(self) -> ScheduleSpec:
        """The spec that counts: that of a person, else the declared one."""
        spec = self.override or self.declared
        assert spec is not None, f"the schedule {self.key} is neither declared nor set"
        return spec


class SchedulePage(Struct, frozen=True, omit_defaults=True):
    """A page of a namespace's schedules, by name. `next_cursor` is None for the last page."""

    schedules: Sequence[ScheduleRow]
    next_cursor: str | None = None
