"""The side of a runner that runs attempts, as the exchange loop sees it."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from raytasks.protocol.messages import Claim


class Work(Protocol):
    """The side of a runner that runs attempts."""

    def capacity_by_type(self) -> Mapping[str, int]:
        """Return how many more attempts of each task type the runner takes now."""

    def capacity(self) -> int:
        """Return how many more attempts the runner takes now in all."""

    def start(self, claims: Sequence[Claim]) -> None:
        """Begin the attempts, or queue them."""

    def stop(self, task_id: str, attempt: int) -> None:
        """Stop an attempt; it still reports an outcome.

        Either its task was cancelled, or the attempt is no longer this runner's. In the second
        case its outcome is dropped.
        """
