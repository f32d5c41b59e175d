"""A gate: the room of one limit, or of one key of it, and those who wait before it. No I/O."""

import heapq
import math
from typing import Any, Protocol

from raytasks.model.controls import Limit, default_burst
from raytasks.tracker.token_loans import Borrower, TokenLoans

Key = tuple[str, str | int | None, bool]
"""The key of a keyed limit: namespace, value, and whether the value is a flag (True equals 1)."""

NO_BOUND = 1 << 30
"""The room of a gate that bounds nothing."""

STEP_SECONDS = 0.02
"""Seconds of tokens that one wake-up waits for, where a bucket can hold so many."""

_ALMOST = 1e-6  # a token that is as good as there


class Parked(Protocol):
    """Something that waits before a gate: all waiting tasks of a lane, or of a type."""

    parked_at: "Gate | None"
    parked_as: int

    @property
    def count(self) -> int:
        """How many tasks wait in it."""


class LimitInForce:
    """A limit with the bounds that hold now, and its gates.

    - `declared`: as the handlers declare it; `bounds`: with what a person has set.
    - `types`: the task types that name it. With `is_shared_order`, tasks of several lanes may have
      one key, and must come in their order all the same.
    """

    def __init__(self, declared: Limit, bounds: Limit) -> None:
        self.declared = declared
        self.name = declared.name
        self.types: list[str] = []
        self.is_shared_order = False
        self.gates: dict[Key | None, Gate] = {}
        self.change(bounds)

    def change(self, bounds: Limit) -> None:
        """Put other bounds in force."""
        self.bounds = bounds
        self.running = bounds.running
        self.per_second = 0.0 if bounds.rate is None else bounds.rate / bounds.per_seconds
        self.burst = 0
        if bounds.rate is not None:
            self.burst = bounds.burst or default_burst(bounds.rate, bounds.per_seconds)


class Gate:
    """The room of a limit without key, or of one key of it.

    - `running`: attempts that run; `ending`: those of them that the tick on its way ends;
      `reserved`: those that it may claim.
    - `tokens`: those of the bucket at the time `at`; nothing begins before `closed_until`. These
      times are monotonic. `loans` are the tokens that may come back.
    - `put_off`: tasks that hold up those behind them until they are due, with their due time.
    - `members`: the lanes with this key, where their order matters over all of them.
    - `lanes`: how many lanes keep the gate at hand.
    """

    __slots__ = (
        "at",
        "closed_until",
        "ending",
        "fades_at",
        "key",
        "lanes",
        "limit",
        "loans",
        "members",
        "parked",
        "put_off",
        "reserved",
        "running",
        "timer_at",
        "tokens",
    )

    def __init__(self, limit: LimitInForce, key: Key | None, since: float, now: float) -> None:
        self.limit = limit
        self.key = key
        self.running = self.ending = self.reserved = self.lanes = 0
        # A bucket that nobody has asked for was empty when the tracker began.
        self.tokens = min(float(limit.burst), max(0.0, now - since) * limit.per_second)
        self.at = now
        self.loans: TokenLoans | None = None
        self.closed_until = -math.inf
        self.parked: dict[str, list[tuple[float, int, Parked]]] | None = None
        self.put_off: dict[str, float] | None = None
        self.members: dict[Any, None] | None = None
        self.timer_at = self.fades_at = math.inf

    def room(self, now: float) -> int:
        """Return how many more attempts may begin now."""
        limit = self.limit
        if self.put_off or self.closed_until > now:
            return 0
        room = NO_BOUND
        if limit.running is not None:
            room = limit.running - self.running + self.ending - self.reserved
        if limit.per_second:
            self.refill(now)
            room = min(room, math.floor(self.tokens + _ALMOST) - self.reserved)
        return room

    def refill(self, now: float) -> None:
        """Add the tokens that have come since the last time."""
        if now > self.at:
            more = (now - self.at) * self.limit.per_second
            self.tokens = min(float(self.limit.burst), self.tokens + more)
            self.at = now

    def take_token(self, now: float, borrower: Borrower | None = None) -> None:
        """Take the token of an attempt whose claim was committed by now: it begins no sooner.

        Only that of a `borrower` can come back.
        """
        if not self.limit.per_second:
            return
        self.refill(now)
        if self.loans is None:
            self.loans = TokenLoans()
        self.loans.take(borrower, now, self.tokens)
        self.tokens -= 1.0

    def settle_token(self, now: float, borrower: Borrower, *, begun: bool) -> None:
        """Forget the loan of an attempt that has ended; put its token back if it has not begun."""
        if self.loans is None or not self.limit.per_second:
            return
        if begun:
            self.loans.end(borrower)
            return
        self.refill(now)
        self.tokens += self.loans.give_back(borrower, now, self.tokens, self.limit.burst)

    def set_tokens(self, tokens: float) -> None:
        """Set the tokens, as the bounds have changed: no token comes back any more."""
        self.tokens, self.loans = tokens, None

    def opens_at(self, now: float) -> float:
        """Return when time alone makes room; infinite if an attempt has to end first."""
        limit = self.limit
        if self.put_off:
            return math.inf
        if limit.running is not None and self.running + self.reserved >= limit.running:
            return math.inf
        at = max(now, self.closed_until)
        if limit.per_second:
            self.refill(now)
            goal = max(1.0, min(limit.burst / 2, limit.per_second * STEP_SECONDS))
            free = self.tokens - self.reserved
            missing = goal - free if free < 1 - _ALMOST else goal
            at = max(at, now + missing / limit.per_second)
        return at

    def is_idle(self, now: float) -> bool:
        """Return whether a new gate with this key would be just like it."""
        if self.running or self.ending or self.reserved or self.parked or self.put_off:
            return False
        if self.members or self.closed_until > now:
            return False
        if self.limit.per_second:
            self.refill(now)
            return self.tokens >= self.limit.burst
        return True

    def park(self, item: Parked, task_type: str, place: float, number: int) -> None:
        """Have an item wait here; the lowest `place` is woken first.

        One that waits here already gets another place. The `number` is new each time.
        """
        item.parked_at, item.parked_as = self, number
        if self.parked is None:
            self.parked = {}
        heap = self.parked.setdefault(task_type, [])
        if len(heap) >= 256 and not len(heap) & (len(heap) - 1):  # those that have gone
            heap[:] = [entry for entry in heap if self._waits(entry)]
            heapq.heapify(heap)
        heapq.heappush(heap, (place, number, item))

    def next_parked(self, task_type: str) -> Parked | None:
        """Remove the best item of a type that waits here, and return it; None if there is none."""
        heap = self.parked.get(task_type) if self.parked else None
        while heap:
            entry = heapq.heappop(heap)
            item = entry[2]
            if self._waits(entry):
                item.parked_at = None
                if not heap and self.parked is not None:
                    del self.parked[task_type]
                return item
        if heap is not None and self.parked is not None:
            del self.parked[task_type]
        return None

    def _waits(self, entry: tuple[float, int, Parked]) -> bool:
        _, number, item = entry
        return item.parked_at is self and item.parked_as == number
