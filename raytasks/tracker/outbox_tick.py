"""The part of a tick that takes rows of the outbox: each becomes one task, in one transaction."""

from collections.abc import Mapping, Sequence

from msgspec import json

from raytasks.model.acts import duplicate_reason
from raytasks.model.states import TRANSITIONS, Event
from raytasks.model.tasks import Duplicate, KeyConflict, NewTask, UniqueConflict
from raytasks.protocol.messages import StateChange
from raytasks.store import outbox_rows, refusing
from raytasks.store.transaction import Transaction
from raytasks.tracker.acting import change_of, inserted
from raytasks.tracker.outbox_intake import OutboxEntry, closed, error_json


def take_rows(
    transaction: Transaction, entries: Sequence[OutboxEntry]
) -> tuple[list[OutboxEntry], set[str]]:
    """Delete the rows of entries, and return the entries that this tick has to store.

    A row that is gone was taken by an earlier tick, of which only the answer was lost. The task of
    a row that was written twice is there already. Neither is stored again. The ids of rows that
    are locked by others come second: they stay where they are.
    """
    found = outbox_rows.take(transaction.connection, [entry.row_id for entry in entries])
    taken = [entry for entry in entries if entry.row_id in found.taken]
    known = transaction.tasks([entry.task.task_id for entry in taken])
    return [entry for entry in taken if entry.task.task_id not in known], found.locked


def end_unfit(
    transaction: Transaction,
    entries: Sequence[OutboxEntry],
    duplicates: Mapping[str, Duplicate],
    now: float,
) -> list[StateChange]:
    """Store the entries that do not become ordinary tasks as ended ones; return their changes.

    What does not fit has FAILED, and so has what a taken key refuses. What another task stands for
    is CANCELLED, with the reason.
    """
    ends: list[tuple[NewTask, Event, str]] = []
    for entry in entries:
        duplicate = duplicates.get(entry.task.task_id)
        if entry.refusal is not None:
            ends.append((closed(entry.task), Event.REFUSE, entry.refusal))
        elif duplicate is not None:
            ends.append((closed(entry.task), *_end_of(duplicate)))
    if not ends:
        return []
    transaction.submit([task for task, _, _ in ends])
    rows = refusing.read(transaction.connection, [task.task_id for task, _, _ in ends])
    changes = [inserted(task, now) for task, _, _ in ends]
    for task, event, text in ends:
        row = [rows[task.task_id]]
        if event is Event.REFUSE:
            kind = json.decode(text)["type"]
            transaction.end(row, event, refusing.REFUSE, p_error=text, p_error_type=kind)
        else:
            transaction.end(row, event, refusing.STAND_FOR, p_reason=text)
        changes.append(change_of(task, TRANSITIONS[event].target, 0, 1, now))
    return changes


def _end_of(duplicate: Duplicate) -> tuple[Event, str]:
    """Return how a task ends whose key belongs to another one, with the text that says so."""
    holder = duplicate.task_id
    if duplicate.unique is not None:
        if duplicate.same:
            return Event.CANCEL, duplicate_reason(f"the task {holder} holds its unique key")
        error: Exception = UniqueConflict(f"the unique key is held by the task {holder}")
        return Event.REFUSE, error_json(error)
    if duplicate.same:
        return Event.CANCEL, duplicate_reason(f"the task {holder} has its idempotency key")
    error = KeyConflict(
        f"the idempotency key was used before, for another request: the task {holder}"
    )
    return Event.REFUSE, error_json(error)
