"""The sharing of due tasks among runners, as pure functions."""

import math
from collections import defaultdict
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raytasks.protocol import local_socket as local_rpc
from raytasks.store.candidates import MAX_CLAIMS, Candidate

MAX_CLAIM_BYTES = 64 * 1024 * 1024
"""Maximum bytes of payloads and checkpoints that one tick hands out. A single larger one is handed
out by itself."""

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Maximum bytes that one runner is given at a time: they travel in one message."""

TURN_SECONDS = 0.005
"""Seconds of work that one runner is given before the next one has its turn."""


_ALMOST = 1e-6


def _batch_bytes() -> int:
    """Return the maximum bytes for one runner: far less than a message may have."""
    return min(MAX_BATCH_BYTES, local_rpc.MAX_BYTES // 8)


@dataclass
class CapacityRequest:
    """A runner's request: at most `capacity_by_type` of each type, `capacity` in all.

    At most `seconds` of work fit, by the running times in `TickInput.durations`; None: any amount.
    With `empty`, one attempt fits however long it takes.

    With `seconds`, the attempts share a process. Then a suspect is taken only if all others there
    are suspects, and their number fits each one's company. The runner has `suspects` of them, and
    may have `company`.

    With `begins_later`, a claimed attempt first waits for a place to run; attempts of the types in
    `waiting` do so now. The types in `rated` have a rate: they are taken only for what is free now.
    """

    runner_id: str
    capacity_by_type: Mapping[str, int]
    capacity: int
    seconds: float | None
    empty: bool
    suspects: int = 0
    company: float = math.inf
    begins_later: bool = False
    waiting: Collection[str] = ()
    rated: Container[str] = ()
    left_bytes: int = field(default_factory=_batch_bytes)
    given: int = 0
    full: bool = False
    taken_by_type: dict[str, int] = field(default_factory=dict)

    @property
    def free_seconds(self) -> float:
        """Seconds of work that fit; infinite if there is no such limit."""
        return math.inf if self.seconds is None else self.seconds

    def most(self, task_type: str, duration: float, *, rated: bool = False) -> int:
        """Return how many attempts of this type fit at most; `rated`: as it has a rate."""
        most = min(self.capacity, self._left_of(task_type))
        if rated:
            return self._begin_now(task_type, most)
        if self.seconds is None or duration * most <= self.seconds:
            return most
        return min(most, 1 + int(max(0.0, self.seconds) / duration))

    def _left_of(self, task_type: str) -> int:
        most = self.capacity_by_type.get(task_type, 0)
        return most - self.taken_by_type.get(task_type, 0) if most else 0

    def fits(self, duration: float) -> bool:
        """Return whether an attempt of such a duration fits at all."""
        return self.seconds is None or self.empty or duration <= self.seconds

    def fill(self, duration: float) -> int:
        """Return how many attempts of such a duration use all that is offered."""
        if self.seconds is None or duration * self.capacity <= self.seconds:
            return self.capacity
        return min(self.capacity, 1 + int(max(0.0, self.seconds) / duration))

    @property
    def queues(self) -> bool:
        """Whether the runner begins its attempts one after the other."""
        return self.seconds is not None and self.seconds < math.inf

    def _begin_now(self, task_type: str, most: int) -> int:
        """Return how many attempts of a type would begin at once."""
        if self.queues:
            return min(most, int(self.empty))
        return 0 if task_type in self.waiting else most

    def take(
        self, task_type: str, duration: float, company: int | None = None, size: int = 0
    ) -> bool:
        """Take an attempt of this type if it fits. `company` and `size` are its task's.

        After an attempt that is too large for the message, no other is taken.
        """
        if self.capacity < 1 or self._left_of(task_type) < 1:
            return False
        if size > self.left_bytes and self.given:
            self.capacity, self.full = 0, True
            return False
        if task_type in self.rated and not self._begin_now(task_type, 1):
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
        self.taken_by_type[task_type] = self.taken_by_type.get(task_type, 0) + 1
        self.empty = False
        return True

    def _takes_company(self, company: int | None) -> bool:
        """Return whether an attempt of this company may join the others; count it if so."""
        if company is None:
            return not self.suspects
        most = min(self.company, company)
        if self.suspects >= most or not (self.suspects or self.empty):
            return False
        self.suspects, self.company = self.suspects + 1, most
        return True


class Shares(NamedTuple):
    """The tasks that runners get, with the runners' ids.

    - `cut`: whether a bound of the tick has cut the list.
    - `apart`: by type, how many runners the suspects need that nobody took. They wait until that
      many are empty. Of suspects with a company of 4, a runner takes 4, so each needs 0.25.
    """

    chosen: list[tuple[Candidate, str]]
    cut: bool
    apart: Mapping[str, float]


def share_out(
    rows: Sequence[Candidate], requests: Sequence[CapacityRequest], durations: Mapping[str, float]
) -> Shares:
    """Give each task, best rank first, to one runner in turn, as long as one takes it.

    The runner with most free time comes first. Its turn lasts until it has some milliseconds of
    work, because a few short tasks are cheaper in one message than spread over all runners.
    """
    chosen: list[tuple[Candidate, str]] = []
    order = sorted(requests, key=lambda request: request.free_seconds, reverse=True)
    given: defaultdict[str, float] = defaultdict(float)  # seconds of work in a runner's turn
    apart: defaultdict[str, float] = defaultdict(float)
    kept = 0
    total = 0
    for row in rows:
        total += row.size
        if len(chosen) == MAX_CLAIMS or (total > MAX_CLAIM_BYTES and chosen):
            return Shares(chosen, True, apart)
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
            if row.company is None:
                _keep_free_for(row.task_type, order)
                continue
            apart[row.task_type] += 1 / row.company
            if kept < math.ceil(sum(apart.values()) - _ALMOST):
                kept += 1
                _keep_free_for(row.task_type, order)
    return Shares(chosen, any(request.full for request in order), apart)


def _keep_free_for(task_type: str, requests: Sequence[CapacityRequest]) -> None:
    """Reserve the runner that will be free first: it takes nothing more in this tick.

    A long task, or a suspect, fits only where nothing else is held. Without this, a stream of short
    tasks with a worse rank would block it for ever.
    """
    able = [
        request
        for request in requests
        if request.capacity and request.capacity_by_type.get(task_type) and request.seconds
    ]
    if able:
        max(able, key=lambda request: (request.seconds or 0.0, request.capacity)).capacity = 0
