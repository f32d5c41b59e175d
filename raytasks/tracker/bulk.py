"""Bulk operations at work: small steps, each a transaction of its own between two ticks."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from raytasks.messages import StateChange
from raytasks.operations import BulkAction, BulkOperation, NewBulk, TaskHead
from raytasks.states import TRANSITIONS, Event, State
from raytasks.store import bulk
from raytasks.store.store import Store
from raytasks.store.transaction import Counted

STEP = 500
"""How many tasks one step looks at, at the most."""

TICKS_FIRST = 4
"""How many ticks go before a step while there is more for them to do; they are not kept waiting by
an operation, and it is not by them."""

_PAUSE_SECONDS = 5.0  # after a step that failed for no known reason


@dataclass(frozen=True, slots=True)
class StepResult:
    """What a step did: in the counts, to tasks that wait or wait again, and to those that run."""

    operation: BulkOperation
    counts: Mapping[Counted, int]
    changes: list[StateChange]
    marked: list[str]


class BulkTurns:
    """Says when a step is due. Steps of several operations take turns."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open = False
        self._last = ""
        self._ticks = 0
        self._paused_until = 0.0

    @property
    def last(self) -> str:
        """The operation whose step was the last one."""
        return self._last

    @property
    def any(self) -> bool:
        """Whether there may be something to do at once."""
        return self._open and self._clock() >= self._paused_until

    def look(self) -> None:
        """Note that there may be an operation that was not known."""
        self._open = True

    def is_due(self, *, idle: bool) -> bool:
        """Return whether it is time for a step. With `idle`, a tick would have nothing to do."""
        if not self.any:
            return False
        self._ticks += 1
        return idle or self._ticks > TICKS_FIRST

    def done(self, step: StepResult | None) -> None:
        """Note what came of a step; None: there was no operation to go on with."""
        self._ticks = 0
        self._open = step is not None
        self._last = "" if step is None else step.operation.bulk_id

    def failed(self) -> None:
        """Note that a step has failed: it is tried again, but not at once."""
        self._ticks = 0
        self._paused_until = self._clock() + _PAUSE_SECONDS


def make(store: Store, epoch: int, now: float, new: NewBulk) -> tuple[BulkOperation, bool]:
    """Store a new operation, and return it and whether it was new. See `raytasks.store.bulk.make`.

    Raises `Superseded`, `StoreUnavailable`.
    """
    matched = store.count_bulk(new.filter)
    with store.transaction(now=now) as transaction:
        transaction.renew(epoch)
        return bulk.make(transaction, new, matched)


def run_step(store: Store, epoch: int, now: float, last: str) -> StepResult | None:
    """Do the next step of the operation whose turn it is after `last`; None if all are done.

    Raises `Superseded`, `FenceBroken`, `StoreUnavailable`.
    """
    with store.transaction(now=now) as transaction:
        transaction.renew(epoch)
        operations = bulk.still_open(transaction.connection)
        if not operations:
            return None
        operation = next((item for item in operations if item.bulk_id > last), operations[0])
        heads, looked_at = bulk.walk(transaction, operation, STEP)
        changed = bulk.act(transaction, operation.filter.action, heads)
        finished_at = now if len(looked_at) < STEP else None
        bulk.move(transaction, operation, looked_at, len(changed), finished_at)
        running = [head for head in changed if head.state is State.RUNNING]
        return StepResult(
            operation=operation,
            changes=[
                _change(head, operation.filter.action, now)
                for head in changed
                if head.state is not State.RUNNING
            ],
            marked=[head.task_id for head in running],
            counts=transaction.finish(),
        )


def _change(head: TaskHead, action: BulkAction, now: float) -> StateChange:
    event = Event.RETRY if action is BulkAction.RETRY else Event.CANCEL
    return StateChange(
        task_id=head.task_id,
        task_type=head.task_type,
        state=TRANSITIONS[event].target,
        attempt=head.attempt,
        namespace=head.namespace,
        revision=head.revision + 1,
        tags=head.tags,
        at=now,
    )
