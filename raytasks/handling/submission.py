"""The check of a submission: from a client's request to a task that can be stored."""

import hashlib
import json
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import uuid_utils
from msgspec.structs import replace
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from raytasks.handling.callback_terms import NO_CALLBACKS, CallbackTerms
from raytasks.handling.declaration import HandlerSpec
from raytasks.handling.payload_checks import PayloadRefused, check_payload
from raytasks.handling.registry import Registry, nearest_of
from raytasks.handling.submit_request import BatchRequest, SubmitRequest, UniqueRequest
from raytasks.model.bounds import MAX_IN_BATCH, MAX_KEY, is_idempotency_key
from raytasks.model.controls import Limit
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.json_places import pointer
from raytasks.model.lane_names import BadLimitValue, lane_of, limit_values_of
from raytasks.model.strict_json import NestedTooDeeply, NotJson, encode_json, parse_json
from raytasks.model.task_filter import RESERVED, is_reserved
from raytasks.model.tasks import DEFAULT_NAMESPACE, NewTask
from raytasks.model.uniqueness import OnConflict, Unique, decode_unique, encode_unique

_FURTHEST_YEARS = 10
MAX_ERRORS = 100
_BETWEEN = "\x1f"  # no client's key contains it
_SORTED = json.JSONEncoder(sort_keys=True)

MAX_BATCH_KEY = MAX_KEY - len(f"{_BETWEEN}{MAX_IN_BATCH}")
"""Maximum number of characters of the key of a batch."""


@dataclass(frozen=True)
class PayloadBounds:
    """The bounds of a payload: the bytes of its JSON, and the nesting depth of a request.

    The request itself is the first level. They are the settings MAX_PAYLOAD_BYTES and MAX_DEPTH.
    """

    max_bytes: int = 1024 * 1024
    max_depth: int = 100


DEFAULT_BOUNDS = PayloadBounds()
"""The bounds of payloads where no settings say others."""


def check_submission(
    value: Any,
    registry: Registry,
    *,
    idempotency_key: str | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    now: float | None = None,
    bounds: PayloadBounds = DEFAULT_BOUNDS,
    parsed: bool = False,
    callbacks: CallbackTerms = NO_CALLBACKS,
) -> NewTask:
    """Return the task that a request asks for, with its defaults. Raises `InvalidSubmission`.

    `value` is the parsed body, or a `SubmitRequest`. An `idempotency_key` has 1 to 255 printable
    ASCII characters. Of all submissions with the same one in a namespace, only one is stored. The
    time `now` is in seconds since the epoch. For a `parsed` value, `parse_json` was used and the
    depth was checked. So only its size is checked. A callback must keep to the terms `callbacks`.
    """
    if idempotency_key is not None:
        check_key(idempotency_key)
    now = time.time() if now is None else now
    task, request = _checked(
        value, registry, namespace, now, bounds, parsed=parsed, callbacks=callbacks
    )
    if idempotency_key is None:
        return task
    return with_key(task, request, idempotency_key)


def with_key(task: NewTask, request: SubmitRequest, idempotency_key: str) -> NewTask:
    """Return the task of a request with its idempotency key, which was checked."""
    digest = request_digest(request, task.payload.encode())
    return replace(task, idempotency_key=idempotency_key, request_digest=digest)


def check_batch(
    value: Any,
    registry: Registry,
    *,
    idempotency_key: str | None = None,
    namespace: str = DEFAULT_NAMESPACE,
    now: float | None = None,
    bounds: PayloadBounds = DEFAULT_BOUNDS,
    parsed: bool = False,
    callbacks: CallbackTerms = NO_CALLBACKS,
) -> list[NewTask]:
    """Return the tasks of a batch: `value` is `{"tasks": [...]}`, 1 to 1,000 of them.

    Raises `InvalidSubmission`, which names bad tasks by index, up to a maximum number of errors.
    See `check_submission`. The `idempotency_key` is that of the whole batch, and may have 1 to 250
    characters.
    """
    if idempotency_key is not None:
        check_key(idempotency_key, MAX_BATCH_KEY)
    try:
        items = BatchRequest.model_validate(value).tasks
    except ValidationError as error:
        raise InvalidSubmission("the request is not valid", field_errors(error)) from None
    now = time.time() if now is None else now
    checked: list[tuple[NewTask, SubmitRequest]] = []
    errors: list[FieldError] = []
    for index, item in enumerate(items):
        try:
            found = _checked(
                item, registry, namespace, now, bounds, parsed=parsed, callbacks=callbacks
            )
            checked.append(found)
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
    if any(task.unique_spec is not None for task in tasks):
        tasks = [replace(task, batch=tasks[0].task_id) for task in tasks]
    if idempotency_key is None:
        return tasks
    digests = [request_digest(request, task.payload.encode()) for task, request in checked]
    return with_batch_key(tasks, digests, idempotency_key)


def with_batch_key(
    tasks: Sequence[NewTask], digests: Sequence[str], idempotency_key: str
) -> list[NewTask]:
    """Return the tasks of a batch with its key, which was checked, and the digest of all."""
    digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    return [
        replace(task, idempotency_key=batch_key(idempotency_key, index), request_digest=digest)
        for index, task in enumerate(tasks)
    ]


def signed(tasks: Sequence[NewTask], by: str) -> list[NewTask]:
    """Return submissions with who makes them: those that may replace a task that waits."""
    return [replace(task, by=by) if _may_replace(task) else task for task in tasks]


def _may_replace(task: NewTask) -> bool:
    if task.unique_spec is None:
        return False
    return decode_unique(task.unique_spec).on_conflict is OnConflict.REPLACE


def batch_key(key: str, index: int) -> str:
    """Return the key of a task in a batch. The first task has the batch's own key."""
    return f"{key}{_BETWEEN}{index}" if index else key


def is_later_in_batch(key: str, other: str) -> bool:
    """Return whether a key belongs to a task of a batch, not the first, and another key as well."""
    return _BETWEEN in key and key.partition(_BETWEEN)[0] == other.partition(_BETWEEN)[0]


def _checked(
    value: Any,
    registry: Registry,
    namespace: str,
    now: float,
    bounds: PayloadBounds,
    *,
    parsed: bool,
    callbacks: CallbackTerms,
) -> tuple[NewTask, SubmitRequest]:
    try:
        request = SubmitRequest.model_validate(value)
    except ValidationError as error:
        raise InvalidSubmission("the request is not valid", field_errors(error)) from None
    spec = registry.get(request.task_type)
    if spec is None:
        raise unknown_type(request.task_type, registry.task_types)
    callbacks.check(request.callback_url, namespace)
    payload = checked_payload(request.payload, spec, bounds, parsed=parsed)
    return new_task(request, TypeTerms.of(spec), payload, namespace, now), request


@dataclass(frozen=True)
class TypeTerms:
    """The terms that a handler declares for submissions of its type, beside the payload's model."""

    task_type: str
    max_attempts: int
    timeout_seconds: float | None
    limits: Sequence[Limit]

    @classmethod
    def of(cls, spec: HandlerSpec) -> "TypeTerms":
        """Return the terms that a handler declares."""
        return cls(spec.task_type, spec.retry.max_attempts, spec.timeout_seconds, spec.limits)


def new_task(
    request: SubmitRequest, terms: TypeTerms, payload: bytes, namespace: str, now: float
) -> NewTask:
    """Return the task of a request whose type, payload and callback were checked.

    Raises `InvalidSubmission` for times that cannot be, and for values of limits.
    """
    due = request.due(now)
    check_due(due, now, request.model_fields_set)
    expires_at = request.expiry(now)
    if expires_at is not None:
        check_expiry(expires_at, due, now, request.model_fields_set)
    timeout = request.timeout_seconds or terms.timeout_seconds
    limit_values = limit_values_in(payload, terms, request.limit_values)
    return NewTask(
        task_id=str(uuid_utils.uuid7()),
        task_type=terms.task_type,
        payload=payload.decode(),
        priority=request.priority,
        max_attempts=request.max_attempts or terms.max_attempts,
        timeout_seconds=None if timeout is None else float(timeout),
        run_at=None if request.run_at is None else due,
        delay_seconds=request.delay_seconds or 0.0,
        namespace=namespace,
        tags=to_json(request.tags).decode() if request.tags else None,
        lane=lane_of(namespace, limit_values),
        limit_values=limit_values,
        unique_spec=unique_spec_of(request.unique),
        expires_at=None if request.expires_at is None else request.expires_at.timestamp(),
        expires_seconds=request.expires_seconds,
        callback_url=request.callback_url,
    )


def check_expiry(expires_at: float, due: float, now: float, given: Container[str]) -> None:
    """Refuse a time by which the task could not begin. Raises `InvalidSubmission`.

    All times are in seconds since the epoch. The fields that were `given` tell which one is wrong.
    """
    field = next((name for name in ("expires_at", "expires_seconds") if name in given), None)
    due_by = "delay_seconds" if "delay_seconds" in given else "run_at"
    if expires_at > max(now, due):
        if field is None or expires_at <= now + _FURTHEST_YEARS * 366 * 24 * 3600:
            return
        message = f"must be within {_FURTHEST_YEARS} years"
    elif field is None:
        field = due_by
        message = "would be when the task has expired; change expires_at as well"
    elif expires_at <= now:
        message = "must be in the future"
    else:
        message = f"must be later than {due_by}, when the task is due"
    raise InvalidSubmission("the request is not valid", [FieldError(f"/{field}", message)])


def checked_payload(
    payload: Any, spec: HandlerSpec, bounds: PayloadBounds, *, parsed: bool
) -> bytes:
    """Return a payload as JSON, if it fits its handler and the bounds.

    For `parsed`, see `check_submission`. Raises `InvalidSubmission`.
    """
    text = payload_text(payload, bounds, parsed=parsed)
    try:
        check_payload(spec.payload, text)
    except PayloadRefused as refusal:
        raise InvalidSubmission(
            f"the payload does not fit {spec.task_type}",
            [
                FieldError(pointer("payload", *place), message)
                for place, message in refusal.details[:MAX_ERRORS]
            ],
        ) from None
    return text


def check_due(due: float, now: float, given: Container[str]) -> None:
    """Refuse a due time that is too far away. Raises `InvalidSubmission`.

    The fields that were `given` tell which one is wrong.
    """
    if due > now + _FURTHEST_YEARS * 366 * 24 * 3600:
        field = "run_at" if "run_at" in given else "delay_seconds"
        message = f"must be within {_FURTHEST_YEARS} years"
        raise InvalidSubmission("the request is not valid", [FieldError(f"/{field}", message)])


def unique_spec_of(request: UniqueRequest | None) -> str | None:
    """Return the unique key of a request as it is stored; None without one."""
    if request is None:
        return None
    return encode_unique(Unique(request.key, request.until, request.seconds, request.on_conflict))


def limit_values_in(
    payload: bytes | str | None, spec: "HandlerSpec | TypeTerms", given: Mapping[str, Any]
) -> str | None:
    """Return the values of a task's keyed limits as JSON. Raises `InvalidSubmission`.

    What is `given` for a limit replaces the value in the payload (JSON, or None for none).
    """
    if not (spec.limits or given):
        return None
    try:
        keyed = any(limit.by for limit in spec.limits)
        found = None if payload is None or not keyed else from_json(payload)
        return limit_values_of(found, spec.limits, given)
    except BadLimitValue as error:
        raise InvalidSubmission(
            "the task's limits cannot be told", [FieldError(error.pointer, str(error))]
        ) from None


def payload_text(payload: Any, bounds: PayloadBounds, *, parsed: bool) -> bytes:
    """Return the payload as JSON. Every submission passes here. Raises `InvalidSubmission`."""
    try:
        text = to_json(payload) if parsed else encode_json(payload, max_depth=bounds.max_depth - 1)
    except NestedTooDeeply:
        most = bounds.max_depth
        message = f"with its request it is nested deeper than {most} levels (RAYTASKS_MAX_DEPTH)"
        raise _bad_payload(message) from None
    except NotJson as error:
        raise _bad_payload(f"cannot be JSON: {error.reason}", error.pointer) from None
    if len(text) > bounds.max_bytes:
        raise _bad_payload(f"must be at most {bounds.max_bytes} bytes (RAYTASKS_MAX_PAYLOAD_BYTES)")
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


def check_key(key: str, longest: int = MAX_KEY) -> None:
    """Refuse an invalid idempotency key. Raises `InvalidSubmission`."""
    if not is_idempotency_key(key, longest):
        message = (
            f"must be 1 to {longest} printable ASCII characters, without a space at either end"
        )
        raise InvalidSubmission(
            "the idempotency key is not valid", [FieldError("Idempotency-Key", message)]
        )


def request_digest(request: SubmitRequest, payload: bytes) -> str:
    """Return a text that two requests share only if they ask for the same task.

    The `payload` is that of the request, as JSON.
    """
    asked = request.model_dump(mode="json", exclude_unset=True, exclude={"payload"})
    asked["payload"] = parse_json(payload, distinct=True)  # whatever the payload was made of
    return hashlib.sha256(_SORTED.encode(asked).encode()).hexdigest()


def unknown_type(task_type: str, known: Sequence[str]) -> InvalidSubmission:
    """Return the error of a type that is none of the `known` ones."""
    if is_reserved(task_type):
        message = f"names that begin with {RESERVED!r} belong to raytasks itself; take another"
        return InvalidSubmission(
            f"tasks of the type {task_type[:100]!r} cannot be submitted",
            [FieldError("/task_type", message)],
        )
    nearest = nearest_of(task_type, known)
    hint = f"; did you mean {nearest!r}?" if nearest else ""
    listed = ", ".join(known)
    return InvalidSubmission(
        f"there is no task type {task_type[:100]!r}{hint}",
        [FieldError("/task_type", f"must be one of: {listed}")],
    )
