"""The limits of one task type, and the keys of its tasks at their gates: plain data."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from msgspec import json

from raytasks.tracker.gates import Gate, Key, LimitInForce


class TypeLimits(NamedTuple):
    """The limits of a task type.

    - `plain`: the gates of those without key; `keyed`: those with one.
    - `is_rated`: whether one of them has a rate; `is_ordered`: whether one keeps an order.
    - `is_member`: whether the lanes of the type are noted at their gates: see `Gate.members`.
    """

    plain: tuple[Gate, ...] = ()
    keyed: tuple[LimitInForce, ...] = ()
    is_rated: bool = False
    is_ordered: bool = False
    is_member: bool = False


NO_LIMITS = TypeLimits()


@lru_cache(maxsize=8192)
def values_of(limit_values: str | None) -> Mapping[str, Any]:
    """Return the values of a task's keyed limits by the limits' names."""
    if limit_values is None:
        return {}
    found: dict[str, Any] = json.decode(limit_values)
    return found


@lru_cache(maxsize=32_768)
def key_of(name: str, namespace: str, limit_values: str | None) -> Key:
    """Return the key of a task's gate of the limit `name`; it is kept, as it is asked for often.

    A flag is marked, as Python takes it for a number.
    """
    value = values_of(limit_values).get(name)
    return namespace, value, isinstance(value, bool)
