"""The bodies of submissions, as clients send them."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from raytasks.model.bounds import MAX_IN_BATCH, MAX_URL
from raytasks.model.uniqueness import MAX_UNIQUE_KEY, OnConflict, UniqueUntil

WEEK_SECONDS = 7 * 24 * 3600.0
MAX_PRIORITY = 1000
MAX_ATTEMPTS = 1000
MAX_TAGS = 20
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

TAG = "[A-Za-z0-9_.:/=@+-]{1,64}"
Tag = Annotated[str, StringConstraints(pattern=f"^{TAG}$")]


class UniqueRequest(BaseModel):
    """The unique key of a submission. It counts within the namespace and the task type."""

    model_config = ConfigDict(extra="forbid")

    key: str = Field(
        min_length=1,
        max_length=MAX_UNIQUE_KEY,
        pattern=r"^[^\x00]+$",  # PostgreSQL has no texts with NUL
        description="Only one task with it is open.",
    )
    until: UniqueUntil = Field(
        default=UniqueUntil.FINISHED,
        description="Until when the task holds its key: until its first attempt is `started`, "
        "or until it has `finished`.",
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="The key is held at most this long after the submission.",
    )
    on_conflict: OnConflict = Field(
        default=OnConflict.RETURN,
        description="If the key is held: `return` answers with that task, `reject` refuses the "
        "submission, `replace` changes that task if it has not begun.",
    )

    @field_validator("seconds", mode="before")
    @classmethod
    def _is_number(cls, value: Any) -> Any:
        return no_flag(value)


def no_flag(value: Any) -> Any:
    """Refuse a flag where a number is expected; pydantic would take it for 0 or 1."""
    if isinstance(value, bool):
        raise ValueError("give a number, not true or false")
    return value


def check_distinct(tags: list[str]) -> list[str]:
    """Return a task's tags. Raises `ValueError` if one is given twice."""
    if len(set(tags)) < len(tags):
        raise ValueError("give each tag once")
    return tags


class SubmitRequest(BaseModel):
    """The body of `POST /tasks/`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"task_type": "text_processing", "payload": {"text": "Hello, world."}}]
        },
    )

    task_type: str = Field(description="One of the types that GET /task-types lists.")
    payload: Any = Field(description="What the task's handler gets; each type has its schema.")
    priority: int = Field(
        default=0,
        ge=-MAX_PRIORITY,
        le=MAX_PRIORITY,
        description=(
            "Among the tasks of one type and namespace, higher goes first. A low one is not "
            "starved: waiting raises it. Between types and namespaces, shares decide."
        ),
    )
    max_attempts: int | None = Field(
        default=None,
        ge=1,
        le=MAX_ATTEMPTS,
        description="How often it may fail; default: the handler's.",
    )
    timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=WEEK_SECONDS,
        allow_inf_nan=False,
        description="The time limit of each attempt; default: the handler's.",
    )
    delay_seconds: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, description="Run it this much later."
    )
    run_at: AwareDatetime | None = Field(
        default=None, description="Run it not before this time (RFC 3339, with a time zone)."
    )
    tags: list[Tag] = Field(
        default_factory=list,
        max_length=MAX_TAGS,
        description="Labels of yours, each given once; lists and events can be filtered by one.",
    )

    limit_values: dict[str, str | int | bool | None] = Field(
        default_factory=dict,
        max_length=20,
        description="For limits by a value: the values to use, instead of those in the payload.",
    )

    unique: UniqueRequest | None = Field(
        default=None, description="At most one open task with this key."
    )
    expires_seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Cancel it if it has not begun this much later.",
    )
    expires_at: AwareDatetime | None = Field(
        default=None,
        description="Cancel it if it has not begun by this time (RFC 3339, with a time zone).",
    )
    callback_url: str | None = Field(
        default=None,
        max_length=MAX_URL,
        description="The URL to which its end is posted, "
        "signed with the secret of the namespace (Standard Webhooks).",
    )

    @field_validator(
        *("priority", "max_attempts", "timeout_seconds", "delay_seconds", "expires_seconds"),
        mode="before",
    )
    @classmethod
    def _no_flag(cls, value: Any) -> Any:
        return no_flag(value)

    @field_validator("run_at", "expires_at", mode="before")
    @classmethod
    def _no_number(cls, value: Any) -> Any:
        """Refuse a number, as its unit would be a guess: seconds or milliseconds."""
        is_text = isinstance(value, str) and _DATE.match(value)
        if value is None or is_text or isinstance(value, datetime):
            return value
        raise ValueError("give a text as in RFC 3339, e.g. 2031-01-31T12:00:00Z")

    @field_validator("tags")
    @classmethod
    def _distinct(cls, tags: list[str]) -> list[str]:
        return check_distinct(tags)

    @model_validator(mode="after")
    def _one_due_time(self) -> "SubmitRequest":
        if self.delay_seconds is not None and self.run_at is not None:
            raise ValueError("give delay_seconds or run_at, not both")
        if self.expires_seconds is not None and self.expires_at is not None:
            raise ValueError("give expires_seconds or expires_at, not both")
        return self

    def due(self, now: float) -> float:
        """Return when the task would be due if it were accepted now (seconds since the epoch)."""
        if self.run_at is not None:
            return self.run_at.timestamp()
        return now + (self.delay_seconds or 0.0)

    def expiry(self, now: float) -> float | None:
        """Return when the task would expire if it were accepted now; None if it does not."""
        if self.expires_at is not None:
            return self.expires_at.timestamp()
        return None if self.expires_seconds is None else now + self.expires_seconds


class BatchRequest(BaseModel):
    """The body of `POST /tasks/batch`. Each task is as in `POST /tasks/`."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[Any] = Field(min_length=1, max_length=MAX_IN_BATCH)
