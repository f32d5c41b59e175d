"""The counts of tasks as the API shows them: of one namespace, and of all."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from raytasks.model.states import State
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


def by_namespace(counts: Mapping[Counted, int], name: str | None) -> list[dict[str, Any]]:
    """Return the namespaces that have tasks, or the one with this name, with their counts."""
    found: dict[str, Counter[str]] = {}
    for (space, _, state), number in sorted(counts.items()):
        if name in (None, space):
            found.setdefault(space, Counter())[state.value] += number
    return [{"name": space, "by_state": dict(states)} for space, states in found.items()]
