"""The acts of people within a tick: cancels and retries of single tasks, and who asked for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raytasks.model.acts import (
    UNKNOWN,
    ActionName,
    AuditEntry,
    NewAudit,
    TaskAct,
    cancel_reason,
)
from raytasks.model.changes import TaskChanges, ask_alike
from raytasks.model.states import TRANSITIONS, Event, State
from raytasks.model.tasks import (
    NewTask,
    RaytasksError,
    RevisionConflict,
    Running,
    StateConflict,
    Task,
)
from raytasks.protocol.messages import StateChange
from raytasks.store.act_rows import acts_since, write_audit, write_task_acts
from raytasks.store.expiry import ExpiringRow
from raytasks.store.transaction import Transaction

_RETRIABLE = "only FAILED and CANCELLED tasks can be retried"


class Target(NamedTuple):
    """A task that a person changes: its id, and the namespace that it must be in (None: any).

    It is changed `by` a person, who may say why in a `message`. Some of its fields get other values
    by `changes`, if `revision` is its revision (None: any).
    """

    task_id: str
    namespace: str | None = None
    by: str = UNKNOWN
    message: str | None = None
    changes: TaskChanges | None = None
    revision: int | None = None


@dataclass
class Acted:
    """The result of the acts of a tick: their tasks before and after, and the changes of state.

    The `audit` has those that changed something. Retries of tasks whose unique key is held are
    `refused`: the id of the holder, by the id of the task. Of each retry that came too late, its
    error is in `conflicts`, which has None for others. The answers to changes and to deletions
    are in `changed` and `deleted`, in the order in which they were asked for. The times after now
    at which changed tasks are due are in `due`; those at which they expire are in `expiries`.
    """

    before: dict[str, Task] = field(default_factory=dict)
    after: dict[str, Task] = field(default_factory=dict)
    changes: list[StateChange] = field(default_factory=list)
    audit: list[AuditEntry] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    conflicts: list[RaytasksError | None] = field(default_factory=list)
    changed: list[Task | RaytasksError] = field(default_factory=list)
    deleted: list[Task | RaytasksError] = field(default_factory=list)
    due: list[float] = field(default_factory=list)
    expiries: list[float] = field(default_factory=list)


def act(
    transaction: Transaction,
    cancels: Sequence[Target],
    retries: Sequence[Target],
    now: float,
    done: Acted,
) -> None:
    """Cancel and retry tasks, and write down who did it: also in `done`.

    If a task is named twice, only the first counts. A second retry is in conflict with it if it
    asks for other values, or names a revision that has passed. What changes nothing is not written
    down.
    """
    asked = [target.task_id for target in (*cancels, *retries)]
    if not asked:
        return
    done.before = transaction.tasks(asked)
    cancelled, retried = _meant(cancels, done.before), _to_retry(transaction, retries, done)
    by_reason: dict[str, list[Task]] = {}
    for row, target in cancelled:
        by_reason.setdefault(cancel_reason(target.by, target.message), []).append(row)
    for reason, rows in by_reason.items():
        transaction.cancel(rows, reason)
    retried = _retry(transaction, retried, now, done)
    done.after = transaction.tasks(asked)
    _write_down(transaction, ActionName.CANCEL, cancelled, now, done)
    _write_down(transaction, ActionName.RETRY, retried, now, done)


def _retry(
    transaction: Transaction, meant: Sequence[tuple[Task, Target]], now: float, done: Acted
) -> list[tuple[Task, Target]]:
    """Retry tasks, some of them with other values. Each is one change of its revision.

    Returns those that were not refused.
    """
    done.refused = transaction.retry([row for row, _ in meant])
    meant = [(row, target) for row, target in meant if row.task_id not in done.refused]
    for before, target in meant:
        if target.changes is None or not _changes(before, ActionName.RETRY):
            continue
        retried = transaction.tasks([before.task_id])[before.task_id]
        transaction.change(retried, target.changes, steps=0)
        note_due(target.changes.applied_to(retried, now), now, done)
    return meant


def _to_retry(
    transaction: Transaction, retries: Sequence[Target], done: Acted
) -> list[tuple[Task, Target]]:
    """Return the tasks to be retried, each once, and note which retries are in conflict."""
    meant: dict[str, tuple[Task, Target]] = {}
    for target in retries:
        conflict: RaytasksError | None = None
        for row, _ in _meant([target], done.before):
            if target.revision in (None, row.revision):
                _, first = meant.setdefault(row.task_id, (row, target))
                conflict = _conflict(row, target, first)
            elif not _came_before(transaction, row, target):
                conflict = _overtaken(row, target)
        done.conflicts.append(conflict)
    return list(meant.values())


def _came_before(transaction: Transaction, row: Task, target: Target) -> bool:
    """Return whether a retry was carried out before; the same call may come twice."""
    assert target.revision is not None, "a retry without a fence"
    acts = acts_since(transaction.connection, row.task_id, target.revision, 1)
    wanted = (target.revision, ActionName.RETRY, target.by)
    if [(act.revision, act.action, act.by) for act in acts] != [wanted]:
        return False
    return target.changes is None or target.changes.is_done_in(row)


def _overtaken(row: Task, target: Target) -> RaytasksError:
    if not _changes(row, ActionName.RETRY):
        return StateConflict(f"the task is {row.state}; {_RETRIABLE}")
    return RevisionConflict(
        f"the task has the revision {row.revision} by now, not {target.revision}: it was retried, "
        "and has ended again; look at it before you retry it once more"
    )


def _conflict(row: Task, target: Target, first: Target) -> StateConflict | None:
    """Return why a task cannot be retried, None if it can; `first` is its first retry here."""
    if not _changes(row, ActionName.RETRY):
        return StateConflict(f"the task is {row.state}; {_RETRIABLE}")
    if not ask_alike(target.changes, first.changes):
        return StateConflict(f"another retry came first, so the task is PENDING; {_RETRIABLE}")
    return None


def note_due(task: Task, now: float, done: Acted) -> None:
    """Note when a task that was changed is due, if that is later, and when it expires."""
    if task.run_at > now:
        done.due.append(task.run_at)
    if task.expires_at is not None and not task.attempt:
        done.expiries.append(task.expires_at)


def _write_down(
    transaction: Transaction,
    action: ActionName,
    meant: Sequence[tuple[Task, Target]],
    now: float,
    done: Acted,
) -> None:
    """Write down who has changed which task."""
    changed = [
        (before, after, target)
        for before, target in meant
        for after in [done.after[before.task_id]]
        if _changes(before, action)
    ]
    acts = [
        TaskAct(before.task_id, before.revision, action, now, target.by)
        for before, _, target in changed
    ]
    audit = [
        NewAudit(
            target.by,
            action,
            before.namespace,
            before.task_id,
            details_of(before, target),
        )
        for before, _, target in changed
    ]
    write_task_acts(transaction.connection, acts)
    done.audit += write_audit(transaction.connection, audit, now, len(done.audit))
    done.changes += [
        change_of(after, after.state, after.attempt, after.revision, now, target.by, action)
        for before, after, target in changed
        if after.state is not before.state
    ]


def details_of(task: Task, target: Target) -> dict[str, str | None]:
    """Return what the audit says of an act on a task."""
    details = {"task_type": task.task_type, "state": task.state.value, "message": target.message}
    if target.changes is not None:
        details["changed"] = ", ".join(target.changes.names)
    return details


def _changes(before: Task, action: ActionName) -> bool:
    """Return whether an act changes a task. Another one of the same tick may change it, too."""
    match action:
        case ActionName.RETRY:
            return before.state in TRANSITIONS[Event.RETRY].sources
        case _:
            waits = before.state in TRANSITIONS[Event.CANCEL].sources
            return waits or (before.state is State.RUNNING and not before.cancel_requested)


def _meant(targets: Sequence[Target], found: Mapping[str, Task]) -> list[tuple[Task, Target]]:
    """Return the named tasks, each once, without those in another namespace."""
    meant: dict[str, tuple[Task, Target]] = {}  # a task may be named twice; the first one counts
    for target in targets:
        row = found.get(target.task_id)
        if row is not None and target.namespace in (None, row.namespace):
            meant.setdefault(row.task_id, (row, target))
    return list(meant.values())


def inserted(task: NewTask, now: float) -> StateChange:
    """Return the entry of the feed for a new task."""
    return change_of(task, State.PENDING, 0, 0, now)


def expired(row: ExpiringRow, now: float) -> StateChange:
    """Return the entry of the feed for a task that has expired."""
    return StateChange(
        row.task_id,
        row.task_type,
        TRANSITIONS[Event.EXPIRE].target,
        row.attempt,
        row.namespace,
        row.revision + 1,
        row.tags,
        now,
    )


def change_of(
    task: NewTask | Task | Running,
    state: State,
    attempt: int,
    revision: int,
    now: float,
    by: str | None = None,
    action: ActionName = ActionName.CANCEL,
) -> StateChange:
    """Return the entry of the feed for a change of state; a person made it if `by` is given."""
    return StateChange(
        task.task_id,
        task.task_type,
        state,
        attempt,
        task.namespace,
        revision,
        task.tags,
        now,
        by=by,
        action=None if by is None else action,
    )
