"""The keyed limits of each type, and whether a task has the values of those: it is in its place."""

import math
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from raytasks.model.controls import Limit
from raytasks.model.handler_info import HandlerInfo
from raytasks.model.lane_names import lane_of, limit_values_again
from raytasks.model.tasks import NewTask
from raytasks.tracker.gates import Gate, LimitInForce
from raytasks.tracker.type_limits import values_of

_NO_LIMIT = Limit("moves", running=1)


class KeyedLimits:
    """The limits that the version in force declares. Values of other versions have other names."""

    def __init__(self) -> None:
        self._declared: dict[str, Sequence[Limit]] = {}
        self._names: dict[str, frozenset[str]] = {}
        self.moving = _closed_gate()
        """The gate before which lanes wait until their tasks are moved; it never opens."""
        self.closed: frozenset[str] = frozenset()
        """The types all of whose lanes wait so."""

    def declare(self, infos: Iterable[HandlerInfo]) -> None:
        """Put the declared limits of a handlers' version in force."""
        self._declared = {info.task_type: info.limits for info in infos}
        self._names = {
            name: frozenset(limit.name for limit in limits if limit.by is not None)
            for name, limits in self._declared.items()
        }

    def forget_waiting(self) -> None:
        """Forget which lanes wait to be moved, as all is read again."""
        self.moving = _closed_gate()

    @property
    def types(self) -> Iterable[str]:
        """The types of the version in force."""
        return self._declared.keys()

    def declared_of(self, task_type: str) -> Sequence[Limit]:
        """Return the limits that a type declares."""
        return self._declared.get(task_type, ())

    def names_of(self, task_type: str) -> frozenset[str] | None:
        """Return the names of the keyed limits of a type; None for a type without handler."""
        return self._names.get(task_type)

    def fit(self, task_type: str, limit_values: str | None) -> bool:
        """Return whether values (JSON text) are those of a type's keyed limits, by their names.

        All fit a type without handler: nobody knows its limits, and nothing of it is claimed.
        """
        names = self._names.get(task_type)
        if names is None:
            return True
        return are_named(limit_values, names)

    def placed(self, task: NewTask) -> NewTask:
        """Return a new task with the values of its type's limits.

        They are computed again only if another version has made the task: it fits no more.
        """
        if self.fit(task.task_type, task.limit_values):
            return task
        limits = self.declared_of(task.task_type)
        values = limit_values_again(task.payload, task.limit_values, limits)
        return replace(task, lane=lane_of(task.namespace, values), limit_values=values)


def are_named(limit_values: str | None, names: frozenset[str]) -> bool:
    """Return whether values (JSON text) are those of the keyed limits of these names."""
    if limit_values is None:
        return not names
    return values_of(limit_values).keys() == names


def waits_to_move(gate: Gate | None) -> bool:
    """Return whether what is parked at a gate waits until its tasks are moved."""
    return gate is not None and gate.limit is _MOVES


_MOVES = LimitInForce(_NO_LIMIT, _NO_LIMIT)


def _closed_gate() -> Gate:
    gate = Gate(_MOVES, None, 0.0, 0.0)
    gate.closed_until = math.inf
    return gate
