"""The changes and deletions of tasks within a tick: each is fenced, and answered by itself."""

import math
from collections.abc import Container, Sequence

from raytasks.model.acts import ActionName, NewAudit, TaskAct
from raytasks.model.states import WAITING
from raytasks.model.tasks import (
    RaytasksError,
    RevisionConflict,
    StateConflict,
    Task,
    TaskNotFound,
)
from raytasks.store.act_rows import write_audit, write_task_acts
from raytasks.store.transaction import Transaction
from raytasks.tracker.acting import Acted, Target, change_of, details_of, note_due


def change(
    transaction: Transaction,
    targets: Sequence[Target],
    now: float,
    done: Acted,
    ordered_types: Container[str] = (),
) -> None:
    """Change tasks that wait, one after the other, and write down who did it: also in `done`.

    A task of the `ordered_types` that has run before keeps its place in the order of its key.
    """
    for target in targets:
        done.changed.append(_change(transaction, target, now, done, ordered_types))


def delete(transaction: Transaction, targets: Sequence[Target], now: float, done: Acted) -> None:
    """Delete tasks that have ended, one after the other, and write down who did it."""
    for target in targets:
        done.deleted.append(_delete(transaction, target, now, done))


def _change(
    transaction: Transaction,
    target: Target,
    now: float,
    done: Acted,
    ordered_types: Container[str],
) -> Task | RaytasksError:
    changes, revision = target.changes, target.revision
    assert changes is not None, "a change without new values"
    assert revision is not None, "a change without a fence"
    task = _find(transaction, target)
    if isinstance(task, RaytasksError):
        return task
    if task.state not in WAITING:
        return StateConflict(f"the task is {task.state}; only a task that waits can be changed")
    if task.revision == revision + 1 and changes.is_done_in(task):
        return task  # the same call has come before
    if task.revision != revision:
        return RevisionConflict(
            f"the task has the revision {task.revision} by now, not {revision}; read it again, and "
            "change what it is now"
        )
    if changes.sets_expiry and task.attempt:
        return StateConflict("the task has begun before, so it can no longer expire")
    keeps_rank = task.attempt > 0 and task.task_type in ordered_types
    transaction.change(task, changes, keeps_rank=keeps_rank)
    after = transaction.tasks([task.task_id])[task.task_id]
    action = ActionName.CHANGE
    act = TaskAct(task.task_id, task.revision, action, now, target.by)
    write_task_acts(transaction.connection, [act])
    _audit(transaction, action, task, target, now, done)
    done.changes.append(
        change_of(after, after.state, after.attempt, after.revision, now, target.by, action)
    )
    note_due(after, now, done)
    return after


def _delete(
    transaction: Transaction, target: Target, now: float, done: Acted
) -> Task | RaytasksError:
    task = _find(transaction, target)
    if isinstance(task, RaytasksError):
        return task
    if not task.state.final:
        return StateConflict(
            f"the task is {task.state}; only a task that has ended can be deleted; cancel it first"
        )
    pruned = transaction.prune([task.task_id], math.inf)
    assert pruned == [task.task_id], "a final task was not deleted"
    _audit(transaction, ActionName.DELETE, task, target, now, done)
    return task


def _find(transaction: Transaction, target: Target) -> Task | TaskNotFound:
    task = transaction.tasks([target.task_id]).get(target.task_id)
    if task is None or target.namespace not in (None, task.namespace):
        return TaskNotFound(f"there is no task {target.task_id}")
    return task


def _audit(
    transaction: Transaction,
    action: ActionName,
    task: Task,
    target: Target,
    now: float,
    done: Acted,
) -> None:
    details = details_of(task, target)
    entry = NewAudit(target.by, action, task.namespace, task.task_id, details)
    done.audit += write_audit(transaction.connection, [entry], now, len(done.audit))
