"""Which runner is given which of the tasks that are due. Pure: data in, data out."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from raytasks.protocol import local_socket as local_rpc
from raytasks.store.batch_statements import MAX_CLAIMS, Candidate

MAX_CLAIM_BYTES = 64 * 1024 * 1024
"""How much the payloads and checkpoints have that one tick hands out at most. A single one
that has more is handed out by itself."""

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""The same of what one runner is given at a time: it travels in one message."""

TURN_SECONDS = 0.005
"""How much work one runner is given before the next one has its turn."""


def _batch_bytes() -> int:
    """Return how much one runner is given: far less than a message may have."""
    return min(MAX_BATCH_BYTES, local_rpc.MAX_BYTES // 8)


@dataclass
class CapacityRequest:
    """What one runner may be given: at most `capacity_by_type` of each type, `capacity` in all.

    `seconds` is how much work fits, by the running times in `TickInput.durations`; None: any.
    With `empty`, one attempt fits whatever it takes. Where `seconds` count, the attempts share a
    process: a suspect is taken only where there are none but suspects, and not too many for any of
    them. `suspects` is how many the runner has, and `company` how many it may have. What
    `begins_later` waits for a place to run after its claim.
    """

    runner_id: str
    capacity_by_type: dict[str, int]
    capacity: int
    seconds: float | None
    empty: bool
    suspects: int = 0
    company: float = math.inf
    begins_later: bool = False
    left_bytes: int = field(default_factory=_batch_bytes)
    given: int = 0
    full: bool = False

    @property
    def free_seconds(self) -> float:
        """How much work fits; infinite where that does not count."""
        return math.inf if self.seconds is None else self.seconds

    def most(self, task_type: str, duration: float) -> int:
        """Return how many attempts of this type fit at most."""
        most = min(self.capacity, self.capacity_by_type.get(task_type, 0))
        if self.seconds is None or duration * most <= self.seconds:
            return most
        return min(most, 1 + int(max(0.0, self.seconds) / duration))

    def take(
        self, task_type: str, duration: float, company: int | None = None, size: int = 0
    ) -> bool:
        """Take an attempt of this type, if it fits. `company` and `size` are those of its task.

        Once one is too large for the message, nothing goes behind it.
        """
        if self.capacity < 1 or self.capacity_by_type.get(task_type, 0) < 1:
            return False
        if size > self.left_bytes and self.given:
            self.capacity, self.full = 0, True
            return False
        if self.seconds is not None:
            if duration > self.seconds and not self.empty:
                return False
            if not self._takes_company(company):
                return False
            self.seconds -= duration
        self.left_bytes -= size
        self.given += 1
        self.capacity -= 1
        self.capacity_by_type[task_type] -= 1
        self.empty = False
        return True

    def _takes_company(self, company: int | None) -> bool:
        """Return whether a suspect, or what is none, may join what is there; take note if so."""
        if company is None:
            return not self.suspects
        most = min(self.company, company)
        if self.suspects >= most or not (self.suspects or self.empty):
            return False
        self.suspects, self.company = self.suspects + 1, most
        return True


def share_out(
    rows: Sequence[Candidate], requests: Sequence[CapacityRequest], durations: Mapping[str, float]
) -> tuple[list[tuple[Candidate, str]], bool]:
    """Give each task, best rank first, to one runner in turn, as long as somebody takes it.

    Returns what was given to whom, and whether a bound of one tick has cut it.

    Who holds least comes first, and its turn lasts until it has some milliseconds of work: short
    tasks that are few are cheaper in one message than in one to each runner.
    """
    chosen: list[tuple[Candidate, str]] = []
    order = sorted(requests, key=lambda request: request.free_seconds, reverse=True)
    given: defaultdict[str, float] = defaultdict(float)  # how much work, in a runner's turn
    total = 0
    for row in rows:
        total += row.size
        if len(chosen) == MAX_CLAIMS or (total > MAX_CLAIM_BYTES and chosen):
            return chosen, True
        duration = durations.get(row.task_type, 0.0)
        for index, request in enumerate(order):
            if request.take(row.task_type, duration, row.company, row.size):
                chosen.append((row, request.runner_id))
                given[request.runner_id] += duration
                if request.seconds is None or given[request.runner_id] >= TURN_SECONDS:
                    order.append(order.pop(index))
                    del given[request.runner_id]
                break
        else:
            total -= row.size
            _keep_free_for(row.task_type, order)
    return chosen, any(request.full for request in order)


def _keep_free_for(task_type: str, requests: Sequence[CapacityRequest]) -> None:
    """Let the runner that will be free first take nothing more in this tick.

    A long task fits only where nothing else is held; without this, a stream of short ones with a
    worse rank would keep it waiting for ever.
    """
    able = [
        request
        for request in requests
        if request.capacity and request.capacity_by_type.get(task_type) and request.seconds
    ]
    if able:
        max(able, key=lambda request: request.seconds or 0.0).capacity = 0
