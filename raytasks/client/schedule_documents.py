"""The documents about schedules, as clients get them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Required, TypedDict

from raytasks.client.documents import LimitValue


class TimesDocument(TypedDict):
    """The times of a schedule, and the tasks that it submits. See `PUT /schedules/{name}`."""

    task_type: str
    cron: str | None
    every_seconds: float | None
    timezone: str
    payload: Any
    catch_up: Literal["none", "last", "all"]
    max_catch_up: int
    overlap: Literal["allow", "skip"]
    priority: int
    max_attempts: int
    timeout_seconds: float | None
    tags: list[str]
    limit_values: dict[str, LimitValue]
    expires_seconds: float | None


class SetTimesDocument(TimesDocument):
    """The times that a person has set instead of the declared ones: who, and when."""

    changed_at: str
    by: str


class SchedulePauseDocument(TypedDict):
    """The pause of a schedule."""

    since: str
    by: str


class ScheduleDocument(TypedDict):
    """A schedule: as declared, as set instead, as in force, and its times. See `GET /schedules`."""

    namespace: str
    name: str
    declared: TimesDocument | None
    override: SetTimesDocument | None
    in_force: TimesDocument | None
    next_times: list[str]
    last_scheduled_for: str | None
    last_at: str | None
    last_task_id: str | None
    paused: SchedulePauseDocument | None
    error: str | None


class SchedulePageDocument(TypedDict):
    """A page of schedules, by name."""

    schedules: list[ScheduleDocument]
    next_cursor: str | None


class ScheduleSettings(TypedDict, total=False):
    """The settings of a schedule; what is left out, or None, has its default."""

    task_type: Required[str | Callable[..., Any]]
    payload: Any
    cron: str | None
    every_seconds: float | None
    timezone: str | None
    catch_up: Literal["none", "last", "all"] | None
    max_catch_up: int | None
    overlap: Literal["allow", "skip"] | None
    priority: int | None
    max_attempts: int | None
    timeout_seconds: float | None
    tags: Sequence[str] | None
    limit_values: Mapping[str, LimitValue] | None
    expires_seconds: float | None
