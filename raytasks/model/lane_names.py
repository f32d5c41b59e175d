"""Lanes: the waiting tasks of one type that have the same namespace and the same limit values."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from raytasks.model.controls import Limit
from raytasks.model.tasks import DEFAULT_NAMESPACE

PLAIN_LANE = ""
"""The lane of the default namespace's tasks without limit values."""

MAX_VALUE = 200
"""The longest value of a keyed limit, in characters."""

_DIGITS = 16


class BadLimitValue(ValueError):
    """A value by which tasks are limited cannot be one. `pointer` names its place in the request.

    The text says what is wrong, and the fix.
    """

    def __init__(self, place: str, message: str) -> None:
        super().__init__(place, message)
        self.pointer = place

    def __str__(self) -> str:
        return str(self.args[1])


def lane_of(namespace: str, limit_values: str | None) -> str:
    """Return the lane of a task: a short digest of its namespace and its limit values."""
    if limit_values is None and namespace == DEFAULT_NAMESPACE:
        return PLAIN_LANE
    text = f"{namespace}\x00{limit_values or ''}"
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def limit_values_of(
    payload: Any, limits: Sequence[Limit], given: Mapping[str, Any] | None = None
) -> str | None:
    """Return the values of a task's keyed limits, as a JSON object; None if it has none.

    `payload` is the parsed JSON of the task, as it was submitted. What is `given` for a limit
    replaces the value in the payload. A value is a text, a whole number or a flag. If the payload
    has nothing there, the value is null, which is a key like others.

    Raises `BadLimitValue` for any other value, and for a name in `given` that is no keyed limit.
    """
    keyed = [limit for limit in limits if limit.by is not None]
    for name in given or ():
        if name not in {limit.name for limit in keyed}:
            known = ", ".join(sorted(limit.name for limit in keyed)) or "none"
            raise BadLimitValue(
                f"/limit_values/{name}", f"is no keyed limit of this type; it has: {known}"
            )
    if not keyed:
        return None
    values: dict[str, str | int | bool | None] = {}
    for limit in keyed:
        if given is not None and limit.name in given:
            place, value = f"/limit_values/{limit.name}", given[limit.name]
        else:
            place, value = f"/payload{limit.by}", _found(payload, limit.by or "")
        values[limit.name] = _checked(place, limit.name, value)
    return _written(values)


def limit_values_again(
    payload: str,
    known: str | None,
    limits: Sequence[Limit],
    former: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> str | None:
    """Return the values of a waiting task's keyed limits, after a version has declared others.

    `payload` and `known` are JSON text. What is known of a limit stays, as it may have been given
    at submission. But a value that the payload has at one of the limit's `former` places (JSON
    pointers) comes from there. Such values are found again, and so are missing ones. What cannot
    be a value becomes null, and so does all in a payload that cannot be read.
    """
    keyed = [limit for limit in limits if limit.by is not None]
    if not keyed:
        return None
    before = {} if known is None else json.loads(known)
    values: dict[str, Any] = {}
    is_needed = any(limit.name not in before or former.get(limit.name) for limit in keyed)
    found = _parsed(payload) if is_needed else None
    for limit in keyed:
        places = former.get(limit.name, ())
        if limit.name in before:
            values[limit.name] = value = before[limit.name]
            if not any(_is_same(value, _usable(found, place)) for place in places):
                continue
        values[limit.name] = _usable(found, limit.by or "")
    return _written(values)


def _usable(payload: Any, place: str) -> str | int | bool | None:
    """Return the value at a place of a payload; None if it cannot be one."""
    try:
        return _checked("", "", _found(payload, place))
    except BadLimitValue:
        return None


def _is_same(value: Any, other: Any) -> bool:
    """Return whether two values are the same in JSON, where a flag is no number."""
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _parsed(text: str) -> Any:
    """Return the value of JSON text; None if it cannot be read, as for a number of 5,000 digits."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _written(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _found(payload: Any, pointer: str) -> Any:
    """Return the value at a JSON pointer (RFC 6901); None if there is nothing."""
    value = payload
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(name)
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def _checked(place: str, name: str, value: Any) -> str | int | bool | None:
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if value is not None and not isinstance(value, str | int):
        raise BadLimitValue(
            place,
            f"the limit {name!r} needs a text, a whole number, true, false or null here",
        )
    if len(str(value)) > MAX_VALUE:
        raise BadLimitValue(
            place, f"is too long for the limit {name!r}: at most {MAX_VALUE} characters"
        )
    return value
