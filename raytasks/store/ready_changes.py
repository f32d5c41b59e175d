"""The changes of the tasks that are ready, lane by lane, in one transaction."""

from collections.abc import Iterable
from typing import Protocol

from sqlalchemy import Row

from raytasks.store.lane_rows import ReadyChange


class InLane(Protocol):
    """A task, as far as its lane is concerned."""

    @property
    def task_type(self) -> str:
        """Its type."""

    @property
    def lane(self) -> str:
        """Its lane."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def limit_values(self) -> str | None:
        """The values of its keyed limits, as JSON."""


class _OneWay:
    """The tasks that became ready, or those that are ready no longer, summed up by lane."""

    def __init__(self, sign: int) -> None:
        self._sign = sign
        self._lanes: dict[tuple[str, str], tuple[str, str | None, float, int]] = {}

    def add(self, task: InLane, rank: float) -> None:
        key = task.task_type, task.lane
        known = self._lanes.get(key)
        if known is None:
            self._lanes[key] = task.namespace, task.limit_values, rank, 1
        else:
            namespace, values, best, number = known
            self._lanes[key] = namespace, values, rank if rank < best else best, number + 1

    @property
    def any(self) -> bool:
        return bool(self._lanes)

    def listed(self) -> list[ReadyChange]:
        return [
            ReadyChange(task_type, lane, namespace, values, best, self._sign * number)
            for (task_type, lane), (namespace, values, best, number) in self._lanes.items()
        ]


class ReadyChanges:
    """The tasks that became ready in a transaction, and those that are ready no longer."""

    def __init__(self) -> None:
        self._more = _OneWay(1)
        self._less = _OneWay(-1)

    @property
    def any(self) -> bool:
        """Whether there is a change."""
        return self._more.any or self._less.any

    def add(self, task: InLane, rank: float) -> None:
        """Note a task that became ready with this rank."""
        self._more.add(task, rank)

    def remove(self, task: InLane, rank: float) -> None:
        """Note a task with this rank that is ready no longer."""
        self._less.add(task, rank)

    def add_rows(self, rows: Iterable[Row[tuple[str, str, str, str | None, float]]]) -> int:
        """Note tasks that became ready: rows of `lane_statements.IN_LANE`. Return how many."""
        found = list(rows)
        for row in found:
            self._more.add(row, row.rank)
        return len(found)

    def remove_rows(self, rows: Iterable[Row[tuple[str, str, str, str | None, float]]]) -> None:
        """Note tasks that are ready no longer: rows of `lane_statements.IN_LANE`."""
        for row in rows:
            self._less.add(row, row.rank)

    def listed(self) -> list[ReadyChange]:
        """Return the changes: first what became ready, then what is ready no longer.

        Each lane is at most once in each part. Its change is the number of its tasks, below zero in
        the second part. Its rank is the best of theirs.
        """
        return [*self._more.listed(), *self._less.listed()]
