"""The check of a change: from a client's request to new values for a task."""

import json
from collections.abc import Container
from typing import Any

from msgspec import UNSET, UnsetType
from msgspec.structs import replace
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from raytasks.handling.change_request import FIXED, ChangeRequest
from raytasks.handling.declaration import HandlerSpec
from raytasks.handling.submission import (
    PayloadBounds,
    check_due,
    check_expiry,
    checked_payload,
    field_errors,
    limit_values_in,
)
from raytasks.model.changes import TaskChanges
from raytasks.model.errors import FieldError, InvalidSubmission
from raytasks.model.hidden import MARK
from raytasks.model.json_places import pointer
from raytasks.model.lane_names import BadLimitValue, limit_values_of
from raytasks.model.tasks import Task

_BY_HANDLER = ("payload", "limit_values", "max_attempts", "timeout_seconds")
_PLAIN = ("priority", "max_attempts", "timeout_seconds", "delay_seconds", "expires_seconds")


def needs_handler(value: Any) -> bool:
    """Return whether a request changes what only the task's handler can tell about."""
    return isinstance(value, dict) and not value.keys().isdisjoint(_BY_HANDLER)


def has_keyed_limits(spec: HandlerSpec | None) -> bool:
    """Return whether tasks of a handler are limited by values in their payloads."""
    return spec is not None and any(limit.by is not None for limit in spec.limits)


def check_changes(
    value: Any,
    task: Task,
    spec: HandlerSpec | None,
    *,
    now: float,
    bounds: PayloadBounds,
    old_payload: str | None = None,
    parsed: bool = False,
) -> TaskChanges:
    """Return the changes that a request asks for. Raises `InvalidSubmission`.

    `value` is the parsed body. Where `needs_handler`, `spec` is the task's handler. The
    `old_payload` (JSON text) is needed if the handler `has_keyed_limits`; None if it is lost. The
    time `now` is in seconds since the epoch. For `parsed`, see `check_submission`.
    """
    request = _request(value)
    given = request.model_fields_set
    changes: dict[str, Any] = {name: getattr(request, name) for name in _PLAIN if name in given}
    if spec is not None:
        if "max_attempts" in given and request.max_attempts is None:
            changes["max_attempts"] = spec.retry.max_attempts
        if "timeout_seconds" in given and request.timeout_seconds is None:
            changes["timeout_seconds"] = spec.timeout_seconds
    if request.run_at is not None:
        changes["run_at"] = request.run_at.timestamp()
    check_due(changes.get("run_at", now + (request.delay_seconds or 0.0)), now, given)
    if "expires_at" in given:
        at = request.expires_at
        changes["expires_at"] = None if at is None else at.timestamp()
    _check_expiry(task, TaskChanges(**changes), now, given)
    if request.tags is not None:
        changes["tags"] = to_json(request.tags).decode() if request.tags else None
    if "payload" in given:
        assert spec is not None, "a payload without its handler"
        payload = checked_payload(request.payload, spec, bounds, parsed=parsed)
        _check_hidden(payload, spec)
        changes["payload"] = payload.decode()
    if spec is not None and not given.isdisjoint(("payload", "limit_values")):
        changes["limit_values"] = _limit_values(request, task, spec, old_payload, changes)
    return TaskChanges(**changes)


def _check_expiry(task: Task, changes: TaskChanges, now: float, given: Container[str]) -> None:
    """Refuse times by which the task would expire before it is due. Raises `InvalidSubmission`."""
    if task.attempt or not (changes.moves_in_time or changes.sets_expiry):
        return
    if task.state.final:  # its retry is due now, and does not expire
        task = replace(task, run_at=now, expires_at=None)
    after = changes.applied_to(task, now)
    if after.expires_at is not None:
        check_expiry(after.expires_at, after.run_at, now, given)


def _request(value: Any) -> ChangeRequest:
    """Return the request; name what never changes. Raises `InvalidSubmission`."""
    fixed = [name for name in FIXED if isinstance(value, dict) and name in value]
    errors = [FieldError(pointer(name), FIXED[name]) for name in fixed]
    if fixed:
        value = {name: item for name, item in value.items() if name not in fixed}
    try:
        request = ChangeRequest.model_validate(value)
    except ValidationError as error:
        errors += field_errors(error)
    if not (errors or request.model_fields_set):
        known = ", ".join(ChangeRequest.model_fields)
        errors = [FieldError("", f"give at least one of: {known}")]
    if errors:
        raise InvalidSubmission("the change is not valid", errors)
    return request


def _check_hidden(payload: bytes, spec: HandlerSpec) -> None:
    """Refuse marks of hidden values: who sends them back would lose the values."""
    mask = spec.mask_for(operates=False)
    if mask is None:
        return
    value = from_json(payload)
    message = "this is the mark of a hidden value; send the value itself"
    errors = [
        FieldError(f"/payload{place}", message)
        for place in mask.hide(payload.decode()).hidden
        if _at(value, place) == MARK
    ]
    if errors:
        raise InvalidSubmission("the payload has marks of hidden values", errors)


def _at(value: Any, place: str) -> Any:
    for part in place.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        value = value[int(name)] if isinstance(value, list) else value[name]
    return value


def _limit_values(
    request: ChangeRequest,
    task: Task,
    spec: HandlerSpec,
    old_payload: str | None,
    changes: dict[str, Any],
) -> str | UnsetType | None:
    """Return all values of the task's keyed limits after the change.

    A value that was given at the submission in place of the payload's stays, unless another is
    given now. Raises `InvalidSubmission`.
    """
    stored = {} if task.limit_values is None else json.loads(task.limit_values)
    keyed = {limit.name for limit in spec.limits if limit.by is not None}
    if "payload" in changes:
        own = _own_values(old_payload, spec)
        stored = {name: item for name, item in stored.items() if own.get(name, _LOST) != item}
    given = {name: item for name, item in stored.items() if name in keyed}
    given |= request.limit_values or {}
    if not (keyed or given):
        return UNSET
    payload = changes.get("payload", old_payload)
    return limit_values_in(payload, spec, given)


_LOST = object()


def _own_values(payload: str | None, spec: HandlerSpec) -> dict[str, Any]:
    """Return the limit values that a payload itself gives."""
    try:
        found = None if payload is None else limit_values_of(from_json(payload), spec.limits)
    except BadLimitValue:
        return {}
    return {} if found is None else json.loads(found)
