"""The body of `PUT /schedules/{name}`, and the check of a schedule, declared or set."""

import time
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import from_json

from raytasks.handling.declaration import HandlerSpec
from raytasks.handling.declaration_checks import where
from raytasks.handling.handler_json import handler_json
from raytasks.handling.registry import Registry
from raytasks.handling.schedule_times import BadSchedule, Timing, check_timing
from raytasks.handling.submission import (
    DEFAULT_BOUNDS,
    PayloadBounds,
    check_submission,
    field_errors,
)
from raytasks.handling.submit_request import no_flag
from raytasks.model.errors import FieldError, HandlerError, InvalidSubmission
from raytasks.model.schedule_specs import (
    MAX_CATCH_UP,
    MAX_CRON,
    MAX_EVERY,
    MAX_SCHEDULE_PAYLOAD,
    MIN_EVERY,
    CatchUp,
    DeclaredSchedule,
    Overlap,
    Schedule,
    ScheduleKey,
    ScheduleSpec,
)
from raytasks.model.tasks import DEFAULT_NAMESPACE

_SUBMITTED = (
    "task_type",
    "payload",
    "priority",
    "max_attempts",
    "timeout_seconds",
    "tags",
    "limit_values",
    "expires_seconds",
)


class ScheduleRequest(BaseModel):
    """The body of `PUT /schedules/{name}`. What is not about times is as in `POST /tasks/`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "task_type": "text_processing",
                    "cron": "0 9 * * MON-FRI",
                    "timezone": "Europe/Berlin",
                    "payload": {"text": "Good morning."},
                }
            ]
        },
    )

    task_type: str = Field(description="One of the types that GET /task-types lists.")
    payload: Any = Field(default=None, description="The payload of each task.")
    cron: str | None = Field(
        default=None,
        max_length=MAX_CRON,
        description="Five fields: minute, hour, day, month, weekday.",
    )
    every_seconds: float | None = Field(
        default=None,
        ge=MIN_EVERY,
        le=MAX_EVERY,
        allow_inf_nan=False,
        description="Instead of cron: the seconds between two times.",
    )
    timezone: str = Field(
        default="UTC", max_length=100, description="That of cron, as in Europe/Berlin."
    )
    catch_up: CatchUp = Field(
        default=CatchUp.NONE,
        description="For times that passed while the service was away: no task, one for the "
        "`last`, or one for each of the newest `max_catch_up`.",
    )
    max_catch_up: int = Field(default=100, ge=1, le=MAX_CATCH_UP)
    overlap: Overlap = Field(
        default=Overlap.ALLOW,
        description="`skip`: a time is skipped while the last task of the schedule is open.",
    )
    priority: Any = 0
    max_attempts: Any = None
    timeout_seconds: Any = None
    tags: Any = Field(default_factory=list)
    limit_values: Any = Field(default_factory=dict)
    expires_seconds: Any = None

    @field_validator("every_seconds", "max_catch_up", mode="before")
    @classmethod
    def _is_number(cls, value: Any) -> Any:
        return no_flag(value)

    @model_validator(mode="after")
    def _fits_together(self) -> "ScheduleRequest":
        if (self.cron is None) == (self.every_seconds is None):
            raise ValueError("give cron or every_seconds, one of them")
        if self.catch_up is CatchUp.ALL and self.overlap is Overlap.SKIP:
            raise ValueError(
                "with overlap skip the tasks of several times cannot be submitted together; "
                "write catch_up last"
            )
        return self


def check_schedule(
    value: Any,
    registry: Registry,
    *,
    namespace: str = DEFAULT_NAMESPACE,
    now: float | None = None,
    bounds: PayloadBounds = DEFAULT_BOUNDS,
) -> ScheduleSpec:
    """Return the schedule that a request asks for. Raises `InvalidSubmission`.

    `value` is the parsed body. It is refused, among others, if its payload could not be submitted.
    The time `now` is in seconds since the epoch.
    """
    try:
        asked = ScheduleRequest.model_validate(value)
    except ValidationError as error:
        raise InvalidSubmission("the schedule is not valid", field_errors(error)) from None
    now = time.time() if now is None else now
    timing = Timing(asked.cron, asked.every_seconds, asked.timezone, now)
    try:
        check_timing(timing, now)
    except BadSchedule as error:
        found = FieldError(f"/{error.field}", str(error))
        raise InvalidSubmission("the schedule is not valid", [found]) from None
    request = {name: getattr(asked, name) for name in _SUBMITTED}
    task = check_submission(request, registry, namespace=namespace, now=now, bounds=bounds)
    if len(task.payload.encode()) > MAX_SCHEDULE_PAYLOAD:
        message = f"must be at most {MAX_SCHEDULE_PAYLOAD} bytes in a schedule"
        raise InvalidSubmission("the schedule is not valid", [FieldError("/payload", message)])
    return ScheduleSpec(
        task_type=task.task_type,
        payload=task.payload,
        max_attempts=task.max_attempts,
        cron=asked.cron,
        every_seconds=asked.every_seconds,
        timezone=asked.timezone,
        catch_up=asked.catch_up,
        max_catch_up=asked.max_catch_up,
        overlap=asked.overlap,
        priority=task.priority,
        timeout_seconds=task.timeout_seconds,
        tags=task.tags,
        given_values=dict(asked.limit_values) or None,
        expires_seconds=task.expires_seconds,
    )


def declared_schedules(spec: HandlerSpec, registry: Registry) -> tuple[DeclaredSchedule, ...]:
    """Return the schedules that a handler declares, checked. Raises `HandlerError`."""
    found = []
    for schedule in spec.schedules:
        try:
            checked = check_schedule(
                _as_request(spec, schedule), registry, namespace=schedule.namespace
            )
        except InvalidSubmission as error:
            faults = "; ".join(
                f"{fault.pointer.removeprefix('/')}: {fault.message}".removeprefix(": ")
                for fault in error.errors
            )
            raise HandlerError(
                f"{where(spec.target)}: the schedule {schedule.name!r}: {faults or error}"
            ) from None
        found.append(DeclaredSchedule(ScheduleKey(schedule.namespace, schedule.name), checked))
    return tuple(found)


def check_distinct(found: Iterable[tuple[HandlerSpec, Schedule]]) -> None:
    """Refuse two schedules of one name in one namespace. Raises `HandlerError`."""
    known: dict[tuple[str, str], HandlerSpec] = {}
    for spec, schedule in found:
        other = known.setdefault((schedule.namespace, schedule.name), spec)
        if other is not spec:
            raise HandlerError(
                f"{where(spec.target)}: the schedule {schedule.name!r} is declared by "
                f"{where(other.target)} as well; give each schedule a name of its own"
            )


def _as_request(spec: HandlerSpec, schedule: Schedule) -> dict[str, Any]:
    try:
        payload = from_json(handler_json(schedule.payload))
    except Exception as error:
        raise HandlerError(
            f"{where(spec.target)}: the schedule {schedule.name!r}: its payload cannot be JSON: "
            f"{error}"
        ) from None
    return {
        "task_type": spec.task_type,
        "payload": payload,
        "cron": schedule.cron,
        "every_seconds": schedule.every_seconds,
        "timezone": schedule.timezone,
        "catch_up": schedule.catch_up,
        "max_catch_up": schedule.max_catch_up,
        "overlap": schedule.overlap,
        "priority": schedule.priority,
        "max_attempts": schedule.max_attempts,
        "timeout_seconds": schedule.timeout_seconds,
        "tags": list(schedule.tags),
        "limit_values": dict(schedule.limit_values or {}),
        "expires_seconds": schedule.expires_seconds,
    }
