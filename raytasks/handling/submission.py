"""The check of a submission: from a client's request to a task that can be stored."""

import hashlib
import json
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import uuid_utils
from msgspec.structs import replace
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import from_json, to_json

from raytasks.handling.declaration import HandlerSpec
from raytasks.handling.payload_checks import PayloadRefused, check_payload
from raytasks.handling.registry import Registry
from raytasks.model.bounds import MAX_IN_BATCH, MAX_KEY
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.lane_names import BadLimitValue, lane_of, limit_values_of
from raytasks.model.strict_json import NestedTooDeeply, NotJson, encode_json, parse_json, pointer
from raytasks.model.tasks import DEFAULT_NAMESPACE, NewTask

WEEK_SECONDS = 7 * 24 * 3600.0
_PRIORITIES = 1000
_FURTHEST_YEARS = 10
_MAX_TAGS = 20
MAX_ERRORS = 100

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_BETWEEN = "\x1f"  # no client's key contains it
_SORTED = json.JSONEncoder(sort_keys=True)
_MAX_BATCH_KEY = MAX_KEY - len(f"{_BETWEEN}{MAX_IN_BATCH}")


TAG = "[A-Za-z0-9_.:/=@+-]{1,64}"
Tag = Annotated[str, StringConstraints(pattern=f"^{TAG}$")]


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
        description=(
            "Among the tasks of one type and namespace, higher goes first. A low one is not "
            "starved: waiting raises it. Between types and namespaces, shares decide."
        ),
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
    tags: list[Tag] = Field(
        default_factory=list,
        max_length=_MAX_TAGS,
        description="Labels of yours, each given once; lists and events can be filtered by one.",
    )

    limit_values: dict[str, str | int | bool | None] = Field(
        default_factory=dict,
        max_length=20,
        description="For limits by a value: the values to use, instead of those in the payload.",
    )

    @field_validator("priority", "max_attempts", "timeout_seconds", "delay_seconds", mode="before")
    @classmethod
    def _no_flag(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("give a number, not true or false")
        return value

    @field_validator("run_at", mode="before")
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
        if len(set(tags)) < len(tags):
            raise ValueError("give each tag once")
        return tags

    @model_validator(mode="after")
    def _one_due_time(self) -> "SubmitRequest":
        if self.delay_seconds is not None and self.run_at is not None:
            raise ValueError("give delay_seconds or run_at, not both")
        return self

    def due(self, now: float) -> float:
        """Return when the task would be due if it were accepted now (seconds since the epoch)."""
        if self.run_at is not None:
            return self.run_at.timestamp()
        return now + (self.delay_seconds or 0.0)


class BatchRequest(BaseModel):
    """The body of `POST /tasks/batch`. Each task is as in `POST /tasks/`."""

    model_config = ConfigDict(extra="forbid")

    tasks: list[Any] = Field(min_length=1, max_length=MAX_IN_BATCH)


@dataclass(frozen=True)
class PayloadBounds:
    """The bounds of a payload: the bytes of its JSON, and the nesting depth of a request.

    The request itself is the first level. They are the settings MAX_PAYLOAD_BYTES and MAX_DEPTH.
    """

    max_bytes: int = 1024 * 1024
    max_depth: int = 100


_DEFAULT_BOUNDS = PayloadBounds()


def check_submission(
    value: Any,
    registry: Registry,
    *,
    idempotency_key: str | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    now: float | None = None,
    bounds: PayloadBounds = _DEFAULT_BOUNDS,
    parsed: bool = False,
) -> NewTask:
    """Return the task that a request asks for, with its defaults. Raises `InvalidSubmission`.

    `value` is the parsed body, or a `SubmitRequest`. An `idempotency_key` has 1 to 255 printable
    ASCII characters. Of all submissions with the same one in a namespace, only one is stored. The
    time `now` is in seconds since the epoch. For a `parsed` value, `parse_json` was used and the
    depth was checked. So only its size is checked.
    """
    if idempotency_key is not None:
        check_key(idempotency_key)
    now = time.time() if now is None else now
    task, request = _checked(value, registry, namespace, now, bounds, parsed=parsed)
    if idempotency_key is None:
        return task
    return replace(task, idempotency_key=idempotency_key, request_digest=_digest(task, request))


def check_batch(
    value: Any,
    registry: Registry,
    *,
    idempotency_key: str | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    now: float | None = None,
    bounds: PayloadBounds = _DEFAULT_BOUNDS,
    parsed: bool = False,
) -> list[NewTask]:
    """Return the tasks of a batch: `value` is `{"tasks": [...]}`, 1 to 1,000 of them.

    Raises `InvalidSubmission`, which names bad tasks by index, up to a maximum number of errors.
    See `check_submission`. The `idempotency_key` is that of the whole batch, and may have 1 to 250
    characters.
    """
    if idempotency_key is not None:
        check_key(idempotency_key, _MAX_BATCH_KEY)
    try:
        items = BatchRequest.model_validate(value).tasks
    except ValidationError as error:
        raise InvalidSubmission("the request is not valid", field_errors(error)) from None
    now = time.time() if now is None else now
    checked: list[tuple[NewTask, SubmitRequest]] = []
    errors: list[FieldError] = []
    for index, item in enumerate(items):
        try:
            checked.append(_checked(item, registry, namespace, now, bounds, parsed=parsed))
        except InvalidSubmission as error:
            errors += [
                FieldError(pointer("tasks", index) + found.pointer, found.message)
                for found in error.errors
            ]
            if len(errors) >= MAX_ERRORS:
                break
    if errors:
        raise InvalidSubmission("nothing of the batch was accepted", errors[:MAX_ERRORS])
    tasks = [task for task, _ in checked]
    if idempotency_key is None:
        return tasks
    digest = hashlib.sha256("".join(_digest(*pair) for pair in checked).encode())
    return [
        replace(
            task,
            idempotency_key=batch_key(idempotency_key, index),
            request_digest=digest.hexdigest(),
        )
        for index, task in enumerate(tasks)
    ]


def batch_key(key: str, index: int) -> str:
    """Return the key of a task in a batch. The first task has the batch's own key."""
    return f"{key}{_BETWEEN}{index}" if index else key


def is_later_in_batch(key: str) -> bool:
    """Return whether a key belongs to a task of a batch other than the first."""
    return _BETWEEN in key


def _checked(
    value: Any,
    registry: Registry,
    namespace: str,
    now: float,
    bounds: PayloadBounds,
    *,
    parsed: bool,
) -> tuple[NewTask, SubmitRequest]:
    try:
        request = SubmitRequest.model_validate(value)
    except ValidationError as error:
        raise InvalidSubmission("the request is not valid", field_errors(error)) from None
    spec = registry.get(request.task_type)
    if spec is None:
        raise _unknown_type(request.task_type, registry)
    payload = _payload_text(request.payload, bounds, parsed=parsed)
    try:
        check_payload(spec.payload, payload)
    except PayloadRefused as refusal:
        raise InvalidSubmission(
            f"the payload does not fit {request.task_type}",
            [
                FieldError(pointer("payload", *place), message)
                for place, message in refusal.details[:MAX_ERRORS]
            ],
        ) from None
    due = request.due(now)
    if due > now + _FURTHEST_YEARS * 366 * 24 * 3600:
        field = "run_at" if request.run_at is not None else "delay_seconds"
        message = f"must be within {_FURTHEST_YEARS} years"
        raise InvalidSubmission("the request is not valid", [FieldError(f"/{field}", message)])
    timeout = request.timeout_seconds or spec.timeout_seconds
    limit_values = _limit_values(request, payload, spec)
    task = NewTask(
        task_id=str(uuid_utils.uuid7()),
        task_type=spec.task_type,
        payload=payload.decode(),
        priority=request.priority,
        max_attempts=request.max_attempts or spec.retry.max_attempts,
        timeout_seconds=None if timeout is None else float(timeout),
        run_at=None if request.run_at is None else due,
        delay_seconds=request.delay_seconds or 0.0,
        namespace=namespace,
        tags=to_json(request.tags).decode() if request.tags else None,
        lane=lane_of(namespace, limit_values),
        limit_values=limit_values,
    )
    return task, request


def _limit_values(request: SubmitRequest, payload: bytes, spec: HandlerSpec) -> str | None:
    """Return the values of the task's keyed limits as JSON. Raises `InvalidSubmission`."""
    if not (spec.limits or request.limit_values):
        return None
    try:
        keyed = any(limit.by for limit in spec.limits)
        found = from_json(payload) if keyed else None
        return limit_values_of(found, spec.limits, request.limit_values)
    except BadLimitValue as error:
        raise InvalidSubmission(
            "the task's limits cannot be told", [FieldError(error.pointer, str(error))]
        ) from None


def _payload_text(payload: Any, bounds: PayloadBounds, *, parsed: bool) -> bytes:
    """Return the payload as JSON. Every submission passes here. Raises `InvalidSubmission`."""
    try:
        text = to_json(payload) if parsed else encode_json(payload, max_depth=bounds.max_depth - 1)
    except NestedTooDeeply:
        most = bounds.max_depth
        message = f"with its request it is nested deeper than {most} levels (MAX_DEPTH)"
        raise _bad_payload(message) from None
    except NotJson as error:
        raise _bad_payload(f"cannot be JSON: {error.reason}", error.pointer) from None
    if len(text) > bounds.max_bytes:
        raise _bad_payload(f"must be at most {bounds.max_bytes} bytes (MAX_PAYLOAD_BYTES)")
    return text


def _bad_payload(message: str, place: str = "") -> InvalidSubmission:
    return InvalidSubmission(
        "the payload cannot be taken", [FieldError(f"/payload{place}", message)]
    )


def field_errors(error: ValidationError, *prefix: str) -> list[FieldError]:
    """Return pydantic's errors, field by field."""
    return [
        FieldError(pointer(*prefix, *item["loc"]), item["msg"].removeprefix("Value error, "))
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def rfc3339(seconds: float | None) -> str | None:
    """Return a time (seconds since the epoch) as RFC 3339 in UTC, e.g. 2026-01-31T12:00:00.5Z."""
    if seconds is None:
        return None
    whole = int(seconds)
    micros = round((seconds - whole) * 1e6)  # half to even, as in `fromtimestamp`
    if not 0 < micros < 1_000_000:
        return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    return f"{_second(whole)}.{micros:06d}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    """Return a time in whole seconds, without its zone. It is cached, as most repeat."""
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


def check_key(key: str, longest: int = MAX_KEY) -> None:
    """Refuse an invalid idempotency key. Raises `InvalidSubmission`."""
    if (
        not isinstance(key, str)
        or not 1 <= len(key) <= longest
        or not (key.isascii() and key.isprintable())
    ):
        message = f"must be 1 to {longest} printable ASCII characters"
        raise InvalidSubmission(
            "the idempotency key is not valid", [FieldError("Idempotency-Key", message)]
        )


def _digest(task: NewTask, request: SubmitRequest) -> str:
    """Return a text that two requests share only if they ask for the same task."""
    asked = request.model_dump(mode="json", exclude_unset=True, exclude={"payload"})
    asked["payload"] = parse_json(task.payload.encode())  # whatever the payload was made of
    return hashlib.sha256(_SORTED.encode(asked).encode()).hexdigest()


def _unknown_type(task_type: str, registry: Registry) -> InvalidSubmission:
    nearest = registry.nearest(task_type)
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    known = ", ".join(registry.task_types)
    return InvalidSubmission(
        f"there is no task type {task_type[:100]!r}{hint}",
        [FieldError("/task_type", f"must be one of: {known}")],
    )
