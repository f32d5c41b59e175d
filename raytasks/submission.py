"""Checking a submission: from what a client says to a task that can be stored."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import uuid_utils
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import from_json, to_json

from raytasks.models import NewTask, RaytasksError
from raytasks.registry import Registry

WEEK_SECONDS = 7 * 24 * 3600.0
_PRIORITIES = 1000
_FURTHEST_YEARS = 10
_LONGEST_KEY = 255


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field. `pointer` is a JSON pointer (RFC 6901) into the request."""

    pointer: str
    message: str


class InvalidSubmission(RaytasksError):
    """A submission that cannot be accepted; `errors` name the fields."""

    def __init__(self, detail: str, errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.errors = tuple(errors)


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
        ge=-_PRIORITIES,
        le=_PRIORITIES,
        description="Higher goes first. A low one is not starved: waiting raises it.",
    )
    max_attempts: int | None = Field(
        default=None, ge=1, le=1000, description="How often it may fail; default: the handler's."
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

    @model_validator(mode="after")
    def _one_due_time(self) -> "SubmitRequest":
        if self.delay_seconds is not None and self.run_at is not None:
            raise ValueError("give delay_seconds or run_at, not both")
        return self

    def due(self, now: float) -> float:
        """Return when the task is due, in seconds since the epoch."""
        if self.run_at is not None:
            return self.run_at.timestamp()
        return now + (self.delay_seconds or 0.0)


def parse_json(body: bytes) -> Any:
    """Return the JSON value in the body. Raises `ValueError` with the place of the mistake.

    Strict: no NaN, no Infinity, no numbers too big for a float, UTF-8 without lone surrogates.
    """
    value = from_json(body, allow_inf_nan=False)
    if b"e" in body or b"E" in body:
        # A number such as 1e999 is read as infinity; JSON has no way to write that back.
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise ValueError("a number is too big") from None
        except RecursionError:
            raise ValueError("nested too deeply") from None
    return value


def check_submission(
    value: Any, registry: Registry, *, idempotency_key: str | None = None, now: float | None = None
) -> NewTask:
    """Return the task that a request asks for, with its defaults. Raises `InvalidSubmission`.

    `value` is the parsed body, or a `SubmitRequest`. Of all submissions with the same
    `idempotency_key` (1 to 255 printable ASCII characters) only one is stored. `now` is in
    seconds since the epoch.
    """
    now = time.time() if now is None else now
    if idempotency_key is not None:
        _check_key(idempotency_key)
    try:
        request = SubmitRequest.model_validate(value)
    except ValidationError as error:
        raise InvalidSubmission("the request is not valid", field_errors(error)) from None
    spec = registry.get(request.task_type)
    if spec is None:
        raise _unknown_type(request.task_type, registry)
    payload = to_json(request.payload)
    try:
        spec.payload.validate_json(payload)
    except ValidationError as error:
        raise InvalidSubmission(
            f"the payload does not fit {request.task_type}", field_errors(error, "payload")
        ) from None
    due = request.due(now)
    if due > now + _FURTHEST_YEARS * 366 * 24 * 3600:
        field = "run_at" if request.run_at is not None else "delay_seconds"
        message = f"must be within {_FURTHEST_YEARS} years"
        raise InvalidSubmission("the request is not valid", [FieldError(f"/{field}", message)])
    timeout = request.timeout_seconds or spec.timeout_seconds
    return NewTask(
        task_id=str(uuid_utils.uuid7()),
        task_type=spec.task_type,
        payload=payload.decode(),
        priority=request.priority,
        max_attempts=request.max_attempts or spec.retry.max_attempts,
        timeout_seconds=None if timeout is None else float(timeout),
        run_at=max(due, now),
        created_at=now,
        idempotency_key=idempotency_key,
        request_digest=None if idempotency_key is None else _digest(request),
    )


def field_errors(error: ValidationError, *prefix: str) -> list[FieldError]:
    """Return what pydantic found, field by field."""
    return [
        FieldError(pointer(*prefix, *item["loc"]), item["msg"].removeprefix("Value error, "))
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def pointer(*parts: str | int) -> str:
    """Return a JSON pointer to a place, e.g. `/payload/text`; empty for the whole."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def rfc3339(seconds: float | None) -> str | None:
    """Return a time (seconds since the epoch) as RFC 3339 in UTC, e.g. 2026-01-31T12:00:00.5Z."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        message = f"must be 1 to {_LONGEST_KEY} printable ASCII characters"
        raise InvalidSubmission(
            "the idempotency key is not valid", [FieldError("Idempotency-Key", message)]
        )


def _digest(request: SubmitRequest) -> str:
    """Return a text that two requests share only if they ask for the same."""
    asked = request.model_dump(mode="json", exclude_unset=True)
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _unknown_type(task_type: str, registry: Registry) -> InvalidSubmission:
    nearest = registry.nearest(task_type)
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    known = ", ".join(registry.task_types)
    return InvalidSubmission(
        f"there is no task type {task_type[:100]!r}{hint}",
        [FieldError("/task_type", f"must be one of: {known}")],
    )
