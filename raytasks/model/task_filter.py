"""The filter for tasks: the same for lists, bulk operations, the page and the command line."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from raytasks.model.states import State
from raytasks.model.tasks import DEFAULT_NAMESPACE

RESERVED = "raytasks."
"""The beginning of the names of task types that belong to raytasks itself.

Their tasks are left out of lists and counts, unless their type is asked for.
"""


def is_reserved(task_type: str) -> bool:
    """Return whether a task type belongs to raytasks itself."""
    return task_type.startswith(RESERVED)


class TaskFilter(Struct, frozen=True, omit_defaults=True):
    """The filter for tasks of a namespace. What is None, or empty, excludes nothing.

    - `states`: any of them.
    - `created_after`, `created_before`: created at the first time or later, and before the second;
      in seconds since the epoch.
    - `error_type`: the class of the error of the last attempt.
    - `ids_by_clock`: the ids of tasks tell roughly when they were created. It is false only where
      a test has a clock of its own.
    """

    namespace: str = DEFAULT_NAMESPACE
    states: tuple[State, ...] = ()
    task_type: str | None = None
    tag: str | None = None
    created_after: float | None = None
    created_before: float | None = None
    error_type: str | None = None
    ids_by_clock: bool = True

    @property
    def narrows(self) -> bool:
        """Whether it excludes any task of its namespace."""
        return bool(self.states) or self.task_type is not None or not self.is_counted

    @property
    def is_counted(self) -> bool:
        """Whether the number of its tasks follows from the counts by type and state."""
        others = (self.tag, self.created_after, self.created_before, self.error_type)
        return others == (None,) * 4

    def takes_type(self, task_type: str) -> bool:
        """Return whether it takes tasks of a type."""
        if self.task_type is None:
            return not is_reserved(task_type)
        return task_type == self.task_type

    def takes_count(self, namespace: str, task_type: str, state: State) -> bool:
        """Return whether it takes tasks of this namespace, type and state."""
        return (
            namespace == self.namespace
            and self.takes_type(task_type)
            and (not self.states or state in self.states)
        )

    def shown(self) -> Mapping[str, Any]:
        """Return the filter for people: what it asks for, by the names of the API."""
        states = [state.value for state in self.states]
        found = {
            "state": states[0] if len(states) == 1 else states,
            "task_type": self.task_type,
            "tag": self.tag,
            "created_after": self.created_after,
            "created_before": self.created_before,
            "error_type": self.error_type,
        }
        return {name: value for name, value in found.items() if value}
