"""The room in the backlog at one moment: how many further tasks may wait."""

from collections.abc import Mapping
from dataclasses import dataclass, field

BACKLOG_FULL, NAMESPACE_FULL = "backlog_full", "namespace_full"


@dataclass(frozen=True, slots=True)
class Room:
    """The numbers of further tasks that may wait: in all, and in each namespace with a bound."""

    whole: int
    by_namespace: Mapping[str, int] = field(default_factory=dict)

    def of(self, namespace: str) -> int:
        """Return how many further tasks of a namespace may wait; below 1: none."""
        return min(self.whole, self.by_namespace.get(namespace, self.whole))

    def held_by(self, namespace: str) -> str | None:
        """Return which bound lets no further task of a namespace wait; None if none does."""
        if self.whole < 1:
            return BACKLOG_FULL
        return NAMESPACE_FULL if self.of(namespace) < 1 else None
