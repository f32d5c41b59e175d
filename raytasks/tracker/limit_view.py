"""The limits as documents: as declared, as people set them, as in force, and their use."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from raytasks.model.controls import Limit, default_burst
from raytasks.model.handler_info import HandlerInfo
from raytasks.model.steering import LimitSetting, Steering
from raytasks.model.time_text import rfc3339

_BITS = 63

MAX_KEYS = 20
"""How many keys of a limit are shown: the fullest."""


@dataclass(frozen=True)
class KeyUse:
    """The use of one key of a limit. `tokens` is how many attempts may begin now, None: no rate."""

    namespace: str
    value: str | int | bool | None
    running: int
    waiting: int
    tokens: float | None


@dataclass(frozen=True)
class LimitUse:
    """The use of a limit, over all its keys.

    - `running`: how many attempts run that count against it.
    - `waiting`: how many tasks wait that it is about.
    - `tokens`: how many attempts may begin now; None without a rate, or for a limit by a value.
    - `fullest`: its fullest keys.
    """

    running: int = 0
    waiting: int = 0
    tokens: float | None = None
    fullest: Sequence[KeyUse] = ()


def limit_documents(
    infos: Iterable[HandlerInfo], steering: Steering, use: Callable[[str], LimitUse]
) -> list[dict[str, Any]]:
    """Return the limits by name; `use` returns the use of a declared one.

    What a person has set for a limit that no handler declares has no effect, and is shown.
    """
    declared: dict[str, Limit] = {}
    types: dict[str, list[str]] = {}
    for info in infos:
        for limit in info.limits:
            declared.setdefault(limit.name, limit)
            types.setdefault(limit.name, []).append(info.task_type)
    return [
        _document(
            name,
            declared.get(name),
            steering.limits.get(name),
            steering,
            sorted(types.get(name, ())),
            use(name) if name in declared else LimitUse(),
        )
        for name in sorted({*declared, *steering.limits})
    ]


def _document(
    name: str,
    limit: Limit | None,
    setting: LimitSetting | None,
    steering: Steering,
    types: Sequence[str],
    use: LimitUse,
) -> dict[str, Any]:
    override = None
    if setting is not None:
        at = rfc3339(setting.changed_at)
        override = {**_bounds(setting), "changed_at": at, "by": setting.by}
    return {
        "name": name,
        "keyed": limit is not None and limit.by is not None,
        "ordered": limit is not None and limit.ordered,
        "declared": None if limit is None else _bounds(limit),
        "override": override,
        "in_force": None if limit is None else _bounds(steering.bounds_of(limit)),
        "types": list(types),
        "running": use.running,
        "waiting": use.waiting,
        "tokens": use.tokens,
        "fullest": [_key(item) for item in use.fullest[:MAX_KEYS]],
    }


def _bounds(limit: Limit | LimitSetting) -> Mapping[str, Any]:
    burst = limit.burst
    if limit.rate is not None and burst is None:
        burst = default_burst(limit.rate, limit.per_seconds)
    return {
        "running": limit.running,
        "rate": limit.rate,
        "per_seconds": None if limit.rate is None else limit.per_seconds,
        "burst": burst,
    }


def _key(item: KeyUse) -> Mapping[str, Any]:
    value = item.value
    if isinstance(value, int) and value.bit_length() > _BITS:
        value = str(value)  # messages between processes have no larger integers
    return {
        "namespace": item.namespace,
        "value": value,
        "running": item.running,
        "waiting": item.waiting,
        "tokens": item.tokens,
    }
