"""The steps of bulk operations: small, each in its own transaction between two ticks."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from raytasks.model.acts import ActionName, AuditEntry, NewAudit
from raytasks.model.bulk_operations import BulkAction, BulkOperation, NewBulk, TaskHead
from raytasks.model.states import TRANSITIONS, Event, State
from raytasks.model.tasks import StoreUnavailable
from raytasks.protocol.messages import StateChange
from raytasks.protocol.queries import BulkMatches
from raytasks.store import bulk_steps as bulk
from raytasks.store.act_rows import write_audit
from raytasks.store.count_changes import Counted, Total
from raytasks.store.finals import call_back
from raytasks.store.lane_rows import ReadyChange
from raytasks.store.store import Store
from raytasks.tracker.acting import inserted
from raytasks.tracker.renewing import Renewal, renew_values
from raytasks.tracker.room import Room

STEP = 500
"""Maximum number of tasks that one step looks at."""

TICKS_FIRST = 4
"""Number of ticks that run before a step while ticks have work. So neither keeps the other
waiting."""

MAX_FAILURES = 3
"""Maximum number of failures of a step while the database is away for it but not for ticks. Then
the operation waits."""

_PAUSE_SECONDS = 5.0  # after a step that failed, at first
_MAX_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of a step: changed counts and totals, changed tasks, and those to be stopped.

    `deleted` has the ids of tasks that are gone. `changed` is the number of all tasks. With
    `is_last`, the operation is done. The `ready_changes` are by lane.
    """

    operation: BulkOperation
    counts: Mapping[Counted, int]
    totals: Mapping[Total, int]
    changes: list[StateChange]
    marked: list[str]
    deleted: list[str]
    changed: int
    is_last: bool
    ready_changes: list[ReadyChange]


@dataclass
class Turn:
    """The input of one step: operations in `waiting` are skipped.

    The step makes no more tasks wait than there is `room`. It sets `bulk_id`, and `held`: which
    operations wait for room, and for which, as `Room.held_by` says. For the `renewals`, see
    `LaneMoves`.
    """

    waiting: frozenset[str] = frozenset()
    bulk_id: str = ""
    room: Room = field(default_factory=lambda: Room(STEP))
    held: dict[str, str] = field(default_factory=dict)
    renewals: Mapping[str, Renewal] = field(default_factory=dict)


@dataclass
class _Trouble:
    """An operation whose steps fail."""

    error: str
    since: float
    tries: int = 0
    pause: float = _PAUSE_SECONDS
    until: float = 0.0


class BulkTurns:
    """The schedule of steps: operations take turns, and one that fails has to wait."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._open = False
        self._last = ""
        self._ticks = 0
        self._paused_until = 0.0
        self._held_until = 0.0
        self._trouble: dict[str, _Trouble] = {}
        self.held: Mapping[str, str] = {}
        """The bulk retries that wait for room in the backlog, each with the bound that is full."""
        self.room: Callable[[], Room] = lambda: Room(STEP)
        """Returns how many more tasks may wait."""

    @property
    def last(self) -> str:
        """The operation whose step was the last one."""
        return self._last

    @property
    def any(self) -> bool:
        """Whether there may be something to do at once."""
        return self.seconds_until_due() <= 0

    def seconds_until_due(self) -> float:
        """Return the seconds until an operation can go on; infinite if there is none."""
        next_try = self._held_until if self._open else self._next_try()
        return max(next_try, self._paused_until) - self._clock()

    def turn(self) -> Turn:
        """Return the input of the next step."""
        now = self._clock()
        waiting = (name for name, item in self._trouble.items() if item.until > now)
        return Turn(frozenset(waiting), room=self.room())

    def look(self) -> None:
        """Record that there may be a new operation. It does not wait for those that are held."""
        self._open = True
        self._held_until = 0.0

    def is_due(self, *, idle: bool) -> bool:
        """Return whether a step is due. With `idle`, a tick would have nothing to do."""
        if not self.any:
            return False
        self._ticks += 1
        return idle or self._ticks > TICKS_FIRST

    def done(self, step: StepResult | None, turn: Turn | None = None) -> None:
        """Record the result of a step; None: no operation was left to go on with."""
        self._ticks = 0
        self.held = {} if turn is None else turn.held
        self._open = step is not None
        self._last = "" if step is None else step.operation.bulk_id
        if step is not None:
            self._trouble.pop(step.operation.bulk_id, None)
        else:  # an operation that does not wait is done
            waiting = frozenset() if turn is None else turn.waiting
            self._trouble = {k: item for k, item in self._trouble.items() if k in waiting}

    def shown(self, operation: BulkOperation) -> BulkOperation:
        """Return a stored operation together with what it waits for."""
        held_by = self.held.get(operation.bulk_id)
        waits = held_by is not None and operation.finished_at is None
        return replace(operation, held_by=held_by) if waits else operation

    def hold(self, turn: Turn) -> None:
        """Record that all open operations have to wait, as there is no room for their tasks."""
        self._ticks = 0
        self._held_until = self._clock() + _PAUSE_SECONDS
        self.held = turn.held

    def failed(self, turn: Turn | None = None, error: Exception | None = None) -> bool:
        """Record that a step has failed; return whether its operation has to wait now."""
        self._ticks = 0
        now = self._clock()
        if turn is None or not turn.bulk_id:  # it failed before it chose an operation
            if not isinstance(error, StoreUnavailable):
                self._paused_until = now + _PAUSE_SECONDS
            return False
        trouble = self._trouble.setdefault(turn.bulk_id, _Trouble("", now))
        trouble.error = type(error).__name__
        trouble.tries += 1
        if isinstance(error, StoreUnavailable) and trouble.tries < MAX_FAILURES:
            return False
        trouble.until = now + trouble.pause
        trouble.pause = min(2 * trouble.pause, _MAX_PAUSE_SECONDS)
        return True

    def report(self) -> list[dict[str, Any]]:
        """Return the operations that wait because their steps fail, as `/health` shows them."""
        now = self._clock()
        return [
            {
                "what": f"bulk operation {name}",
                "error": item.error,
                "tries": item.tries,
                "seconds_ago": round(now - item.since, 3),
            }
            for name, item in self._trouble.items()
        ]

    def _next_try(self) -> float:
        return min((item.until for item in self._trouble.values()), default=math.inf)


def make(
    store: Store, epoch: int, now: float, new: NewBulk
) -> tuple[BulkOperation, bool, list[AuditEntry]]:
    """Store a new operation; return it, whether it was new, and the act. See `bulk_steps.make`.

    Raises `Superseded`, `StoreUnavailable`.
    """
    matched = store.read(BulkMatches(new.filter))
    with store.transaction(now=now) as transaction:
        transaction.renew(epoch)
        known = bulk.one(transaction.connection, new.bulk_id, new.filter.namespace)
        operation, made = bulk.make(transaction, new, matched)
        acts = [audit_of(operation)] if made and known is None else []
        return operation, made, write_audit(transaction.connection, acts, now)


class Held(Exception):
    """Every open operation would make tasks wait, and there is no room for them."""


def run_step(
    store: Store, epoch: int, now: float, last: str, turn: Turn | None = None
) -> StepResult | None:
    """Do the next step of the operation whose turn it is after `last`; None if all are done.

    Raises `Held`, `Superseded`, `FenceBroken`, `StoreUnavailable`.
    """
    turn = turn or Turn()
    with store.transaction(now=now) as transaction:
        transaction.renew(epoch)
        operations = [
            item
            for item in bulk.still_open(transaction.connection)
            if item.bulk_id not in turn.waiting
        ]
        if not operations:
            return None
        turn.held = _held(operations, turn.room)
        operations = [item for item in operations if item.bulk_id not in turn.held]
        if not operations:
            raise Held
        operation = next((item for item in operations if item.bulk_id > last), operations[0])
        turn.bulk_id = operation.bulk_id
        retries = operation.filter.action is BulkAction.RETRY
        limit = min(STEP, turn.room.of(operation.filter.namespace)) if retries else STEP
        heads, looked_at = bulk.walk(transaction, operation, limit)
        changed = bulk.act(transaction, operation, heads, now)
        if retries and turn.renewals:
            renew_values(transaction, turn.renewals, changed)
        finished_at = now if len(looked_at) < limit else None
        skipped = len(heads) - len(changed) if retries else 0
        bulk.move(transaction, operation, looked_at, len(changed), finished_at, skipped)
        called = [inserted(task, now) for task in call_back(transaction)]
        running = [head for head in changed if head.state is State.RUNNING]
        stays = operation.filter.action is not BulkAction.DELETE
        return StepResult(
            operation=operation,
            changes=[
                _change(head, operation, now)
                for head in changed
                if stays and head.state is not State.RUNNING
            ]
            + called,
            marked=[head.task_id for head in running],
            deleted=[] if stays else [head.task_id for head in changed],
            counts=transaction.finish(),
            changed=len(changed),
            is_last=finished_at is not None,
            totals=transaction.totals,
            ready_changes=transaction.ready_changes,
        )


def _held(operations: Sequence[BulkOperation], room: Room) -> dict[str, str]:
    """Return the operations that would make tasks wait for which there is no room, and why."""
    retries = (item for item in operations if item.filter.action is BulkAction.RETRY)
    found = ((item.bulk_id, room.held_by(item.filter.namespace)) for item in retries)
    return {bulk_id: held_by for bulk_id, held_by in found if held_by is not None}


def audit_of(operation: BulkOperation) -> NewAudit:
    """Return the act of the person who begins an operation."""
    asked = operation.filter
    details = {**asked.tasks.shown(), "matched": operation.matched}
    return NewAudit(operation.by, asked.action.act, asked.namespace, operation.bulk_id, details)


def _change(head: TaskHead, operation: BulkOperation, now: float) -> StateChange:
    retries = operation.filter.action is BulkAction.RETRY
    event = Event.RETRY if retries else Event.CANCEL
    return StateChange(
        task_id=head.task_id,
        task_type=head.task_type,
        state=TRANSITIONS[event].target,
        attempt=head.attempt,
        namespace=head.namespace,
        revision=head.revision + 1,
        tags=head.tags,
        at=now,
        by=operation.by,
        action=ActionName.RETRY if retries else ActionName.CANCEL,
    )
