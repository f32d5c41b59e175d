"""The body of a change of a task, as clients send it: of `PATCH /tasks/{id}`, or with a retry."""

from typing import Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from raytasks.handling.submit_request import (
    MAX_ATTEMPTS,
    MAX_PRIORITY,
    MAX_TAGS,
    WEEK_SECONDS,
    Tag,
    check_distinct,
    no_flag,
)

FIXED = {
    "task_type": "a task keeps its type; submit another task, and cancel this one",
    "namespace": "a task stays in its namespace; submit another task there, and cancel this one",
    "idempotency_key": "the key belongs to the submission; it cannot be changed",
    "unique": "the unique key belongs to the submission; it cannot be changed",
    "callback_url": "the callback belongs to the submission; it cannot be changed",
}
"""The fields of a task that never change, and why."""

_NOT_NULL = ("priority", "run_at", "delay_seconds", "tags", "limit_values", "expires_seconds")


class ChangeRequest(BaseModel):
    """New values for a task. What is left out stays as it is."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"priority": 10, "tags": ["urgent"]}]}
    )

    priority: int | None = Field(
        default=None,
        ge=-MAX_PRIORITY,
        le=MAX_PRIORITY,
        description="Among the tasks of one type and namespace, higher goes first.",
    )
    max_attempts: int | None = Field(
        default=None,
        ge=1,
        le=MAX_ATTEMPTS,
        description="How often it may fail; null: as its handler says.",
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=WEEK_SECONDS,
        allow_inf_nan=False,
        description="The time limit of each attempt; null: as its handler says.",
    )
    delay_seconds: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="Run it this much later than now."
    )
    run_at: AwareDatetime | None = Field(
        default=None, description="Run it not before this time (RFC 3339, with a time zone)."
    )
    payload: Any = Field(
        default=None, description="What its handler gets; it is checked as at a submission."
    )
    tags: list[Tag] | None = Field(
        default=None, max_length=MAX_TAGS, description="All its tags, each given once."
    )
    limit_values: dict[str, str | int | bool | None] | None = Field(
        default=None,
        max_length=20,
        description="For limits by a value: the values to use. Those of other limits stay.",
    )
    expires_seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Cancel it if it has not begun this much later than now.",
    )
    expires_at: AwareDatetime | None = Field(
        default=None,
        description="Cancel it if it has not begun by this time; null: it never expires.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_a_value(cls, value: Any, info: ValidationInfo) -> Any:
        if value is None and info.field_name in _NOT_NULL:
            raise ValueError("give a value, or leave it out")
        return value if info.field_name in ("payload", "limit_values") else no_flag(value)

    @field_validator("tags")
    @classmethod
    def _distinct(cls, tags: list[str] | None) -> list[str] | None:
        return None if tags is None else check_distinct(tags)

    @model_validator(mode="after")
    def _one_time(self) -> "ChangeRequest":
        if {"delay_seconds", "run_at"} <= self.model_fields_set:
            raise ValueError("give delay_seconds or run_at, not both")
        if {"expires_seconds", "expires_at"} <= self.model_fields_set:
            raise ValueError("give expires_seconds or expires_at, not both")
        return self
