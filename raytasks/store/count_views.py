"""The counts of tasks as the API shows them: of one namespace, and of all."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from raytasks.model.states import State
from raytasks.model.steering import NamespaceSetting
from raytasks.store.count_changes import Counted


def of_namespace(counts: Mapping[Counted, int], namespace: str) -> dict[str, Any]:
    """Return how many tasks a namespace has: all states, and the types with states that occur."""
    by_type: dict[str, dict[str, int]] = {}
    by_state = dict.fromkeys((state.value for state in State), 0)
    for (space, task_type, state), number in sorted(counts.items()):
        if space == namespace:
            by_type.setdefault(task_type, {})[state.value] = number
            by_state[state.value] += number
    return {"by_state": by_state, "by_type": by_type}


def by_namespace(
    counts: Mapping[Counted, int],
    settings: Mapping[str, NamespaceSetting],
    name: str | None,
) -> list[dict[str, Any]]:
    """Return the namespaces that have tasks or a share, or the one with this name, by name."""
    found: dict[str, Counter[str]] = {space: Counter() for space in settings}
    for (space, _, state), number in sorted(counts.items()):
        found.setdefault(space, Counter())[state.value] += number
    return [
        {"name": space, "by_state": dict(states), **_share(settings.get(space))}
        for space, states in sorted(found.items())
        if name in (None, space)
    ]


def _share(setting: NamespaceSetting | None) -> dict[str, Any]:
    if setting is None:
        return {"weight": 1.0, "max_backlog": None}
    return {"weight": setting.weight, "max_backlog": setting.max_backlog}
