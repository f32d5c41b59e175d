"""The order to stop an attempt, and its reason."""

from dataclasses import dataclass
from enum import StrEnum


class StopReason(StrEnum):
    """The reason why an attempt is to stop."""

    CANCEL = "cancel"
    TIMEOUT = "timeout"


@dataclass
class Stop:
    """The order to stop one attempt, shared by the thread that runs it and its watch."""

    reason: StopReason | None = None
    ordered_at: float | None = None

    def order(self, reason: StopReason, now: float) -> None:
        """Order the attempt to stop; the first reason stands."""
        if self.reason is None:
            self.reason, self.ordered_at = reason, now
