"""The submissions of a tick whose keys are taken: which are answered, refused, or stored.

The fates are those that they would have one after the other. So nothing is answered with a task
that is refused itself, and what is refused takes no key.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from raytasks.handling.submission import is_later_in_batch
from raytasks.model.acts import UNKNOWN, ActionName, NewAudit, TaskAct
from raytasks.model.states import State
from raytasks.model.tasks import Duplicate, NewTask, Task
from raytasks.model.uniqueness import OnConflict, decode_unique
from raytasks.store.act_rows import write_audit, write_task_acts
from raytasks.store.idempotency import TakenKeys, remember_answers
from raytasks.store.transaction import Transaction
from raytasks.store.unique_rows import KeyName, KeyRow, holders, take, wanted_by
from raytasks.tracker.acting import Acted, change_of


@dataclass
class Decision:
    """The fate of some submissions, all or none of each batch.

    - `new`: the submissions to be stored.
    - `keys`: the unique keys that tasks hold from now on.
    - `duplicates`: the submissions that are not stored, by their ids.
    - `answers`: those that the holder of their unique key answers, each with the holder's id.
    - `rewrites`: the ids of waiting tasks, each with the submission that it is replaced by.
    """

    new: list[NewTask] = field(default_factory=list)
    keys: dict[KeyName, KeyRow] = field(default_factory=dict)
    duplicates: dict[str, Duplicate] = field(default_factory=dict)
    answers: list[tuple[NewTask, str]] = field(default_factory=list)
    rewrites: list[tuple[str, NewTask]] = field(default_factory=list)


def decide(
    new: Sequence[NewTask],
    taken: TakenKeys,
    held: Mapping[KeyName, str],
    has_begun: Callable[[str], bool],
    now: float,
) -> Decision:
    """Decide about submissions, in their order; the first one with a free key gets it.

    The idempotency keys in `taken` were answered before; those of these submissions come to them.
    Tasks in `held`, by id, have unique keys already. `has_begun` says whether such a task has
    begun; what has begun cannot be replaced.

    A submission that is stored already was sent again: it is in no part of the decision.
    """
    done = Decision()
    owners = dict(held)
    for batch in _batches(new):
        fresh = [task for task in batch if not taken.has(task)]
        if repeated := _repeated(fresh, taken):
            done.duplicates |= repeated
            continue
        part, here = Decision(), dict[KeyName, str]()
        for task in fresh:
            _decide_one(task, {**owners, **here} if here else owners, has_begun, now, part)
            here = {name: row.task_id for name, row in part.keys.items()}
        if all(item.same for item in part.duplicates.values()):
            done.new += part.new
            done.keys |= part.keys
            done.rewrites += part.rewrites
            done.duplicates |= part.duplicates
            done.answers += part.answers
            owners |= here
            for task in part.new:
                taken.take(task, task.task_id)
            for task, holder in part.answers:
                taken.take(task, holder, is_alias=True)
        else:
            for task in fresh:
                found = part.duplicates.get(task.task_id)
                if found is None or found.same:
                    found = Duplicate("", same=False, unique=OnConflict.REJECT)
                done.duplicates[task.task_id] = found
    return done


def _repeated(batch: Sequence[NewTask], taken: TakenKeys) -> dict[str, Duplicate]:
    """Return the answers to a batch if an idempotency key of it is taken; else none."""
    found = {task.task_id: taken.duplicate(task) for task in batch}
    if not any(found.values()):
        return {}
    nothing = Duplicate("", same=False)
    return {task_id: known or nothing for task_id, known in found.items()}


def _decide_one(
    task: NewTask,
    owners: Mapping[KeyName, str],
    has_begun: Callable[[str], bool],
    now: float,
    done: Decision,
) -> None:
    if task.unique_spec is None:
        done.new.append(task)
        return
    row = wanted_by(task, now)
    holder = owners.get(row.name)
    if holder is None:
        done.keys[row.name] = row
        done.new.append(task)
        return
    asked = decode_unique(task.unique_spec).on_conflict
    match asked:
        case OnConflict.RETURN:
            same = True
        case OnConflict.REJECT:
            same = False
        case OnConflict.REPLACE:
            same = not has_begun(holder)
            if same:
                done.rewrites.append((holder, task))
                done.keys[row.name] = row._replace(task_id=holder)
    done.duplicates[task.task_id] = Duplicate(holder, same=same, unique=asked)
    if same:
        done.answers.append((task, holder))


def _batches(new: Sequence[NewTask]) -> list[list[NewTask]]:
    """Return the tasks batch by batch. The tasks of a batch are neighbours."""
    batches: list[list[NewTask]] = []
    for task in new:
        if batches and _is_of_batch(task, batches[-1][0]):
            batches[-1].append(task)
        else:
            batches.append([task])
    return batches


def _is_of_batch(task: NewTask, first: NewTask) -> bool:
    """Return whether a task belongs to the batch of the first of the tasks before it."""
    if task.batch is not None or task.idempotency_key is None:
        return task.batch is not None and task.batch == first.batch
    return (
        first.namespace == task.namespace
        and first.idempotency_key is not None
        and is_later_in_batch(task.idempotency_key, first.idempotency_key)
    )


def decide_in(
    transaction: Transaction, new: Sequence[NewTask], taken: TakenKeys, now: float
) -> Decision:
    """Decide about stamped submissions, by the keys that are held in this transaction."""
    wanted = [
        wanted_by(task, now)
        for task in new
        if task.unique_spec is not None and not (taken.has(task) or taken.duplicate(task))
    ]
    held = holders(transaction.connection, [row.name for row in wanted], now)
    known: dict[str, Task] = {}
    if held:
        conflicting = [row.task_id for row in wanted if row.name in held]
        known = transaction.tasks([*held.values(), *conflicting])
        new = [task for task in new if task.task_id not in known]
    return decide(new, taken, held, lambda task_id: _has_begun(known.get(task_id)), now)


def _has_begun(task: Task | None) -> bool:
    """Return whether a holder has begun; one that this tick stores is not known yet."""
    return task is not None and (task.state is not State.PENDING or task.attempt > 0)


def carry_out(transaction: Transaction, decision: Decision, now: float, done: Acted) -> None:
    """Take the keys of a decision and replace tasks, after its new tasks were stored.

    The changes for the feed and the acts for the audit go into `done`.
    """
    take(transaction.connection, list(decision.keys.values()))
    remember_answers(transaction.connection, decision.answers)
    audit: list[NewAudit] = []
    for holder, asked in decision.rewrites:
        before = transaction.tasks([holder])[holder]
        transaction.rewrite(before, asked)
        by = asked.by or UNKNOWN
        act = TaskAct(holder, before.revision, ActionName.REPLACE, now, by)
        write_task_acts(transaction.connection, [act])
        details = {"task_type": asked.task_type, "state": before.state.value}
        audit.append(NewAudit(by, act.action, before.namespace, holder, details))
        done.changes.append(
            change_of(before, State.PENDING, 0, before.revision + 1, now, by, act.action)
        )
    if audit:
        done.audit += write_audit(transaction.connection, audit, now, len(done.audit))
