"""The slots of a concurrent runner by task type, and the batches that are gathered for them."""

from collections import deque
from collections.abc import Iterable, Sequence

from raytasks.handling.declaration import HandlerSpec
from raytasks.model.controls import Batch
from raytasks.protocol.messages import Claim

AHEAD_SECONDS = 0.1
"""Batches are gathered while others run, if their calls will begin within this time.

Otherwise their attempts would wait here for long, and not in another runner that is free.
"""

MAX_AHEAD = 512
"""How many attempts are gathered ahead at most, if a batch is smaller."""

_WEIGHT = 0.2


class Slots:
    """The slots of one task type: each runs one call of its handler at a time.

    A claim begins at once if the type has no batches. Else it joins the next batch. All times are
    in seconds on one clock.
    """

    def __init__(self, spec: HandlerSpec) -> None:
        self.spec = spec
        self.running = 0
        self._gathered: deque[Claim] = deque()
        self._since = 0.0
        self._begun: deque[float] = deque()  # when the running calls began, the oldest first
        self._seconds: float | None = None  # the moving average of a call's time

    @property
    def gathered(self) -> int:
        """How many claims wait for their batch to begin."""
        return len(self._gathered)

    @property
    def since(self) -> float | None:
        """The time when the oldest claim that waits for its batch came; None if none waits."""
        return self._since if self._gathered else None

    def free(self, now: float) -> int:
        """Return how many more claims of this type may come."""
        calls = self.spec.concurrency - self.running
        if self.spec.batch is None:
            return max(0, calls)
        calls = max(0, calls) + self._ahead(self.spec.batch.size, now)
        return max(0, calls * self.spec.batch.size - len(self._gathered))

    def _ahead(self, size: int, now: float) -> int:
        """Return how many batches are gathered beyond those that have a slot.

        None is while a call takes longer than calls do: what is gathered behind it would be given
        back, and come again.
        """
        if self._seconds is None or self._seconds > AHEAD_SECONDS:
            return 0
        if self._begun and now - self._begun[0] > AHEAD_SECONDS:
            return 0
        in_time = int(AHEAD_SECONDS / max(self._seconds, 0.001)) * self.spec.concurrency
        return max(1, min(in_time, MAX_AHEAD // size))

    def add(self, claim: Claim, now: float) -> None:
        """Take a claim."""
        if not self._gathered:
            self._since = now
        self._gathered.append(claim)

    def take(self, now: float, *, more: bool) -> Iterable[Sequence[Claim]]:
        """Yield the claims of each call that is to begin now. `more` tells if more tasks wait."""
        batch = self.spec.batch or Batch(1, 0.0)
        while self._gathered and self.running < self.spec.concurrency:
            if more and len(self._gathered) < batch.size and now < self._since + batch.seconds:
                return
            count = min(batch.size, len(self._gathered))
            claims = [self._gathered.popleft() for _ in range(count)]
            self._since = now
            self.running += 1
            self._begun.append(now)
            yield claims

    def wait_seconds(self, now: float) -> float | None:
        """Return the time until a batch that is not full begins; None if nothing waits for that."""
        if not self._gathered or self.running >= self.spec.concurrency or self.spec.batch is None:
            return None
        return max(0.0, self._since + self.spec.batch.seconds - now)

    def take_back(self, task_id: str | None = None) -> list[Claim]:
        """Remove claims that have not begun, and return them: one task's, or all."""
        taken = [claim for claim in self._gathered if task_id in (None, claim.task_id)]
        if taken:
            self._gathered = deque(claim for claim in self._gathered if claim not in taken)
        return taken

    def end(self, began_at: float, now: float) -> None:
        """Note the end of a call that began at this time."""
        self.running -= 1
        self._begun.remove(began_at)
        seconds = now - began_at
        known = seconds if self._seconds is None else self._seconds
        self._seconds = known + _WEIGHT * (seconds - known)
