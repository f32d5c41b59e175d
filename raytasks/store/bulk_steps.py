"""The storage of bulk operations: creation, the walk through their tasks, and progress."""

import math
from collections.abc import Sequence
from typing import Any

from msgspec import json
from msgspec.structs import replace
from sqlalchemy import Connection, Row

from raytasks.model.acts import UNKNOWN, ActionName, TaskAct, cancel_reason
from raytasks.model.bulk_operations import BulkAction, BulkFilter, BulkOperation, NewBulk, TaskHead
from raytasks.model.states import State
from raytasks.model.task_filter import TaskFilter
from raytasks.model.tasks import DEFAULT_NAMESPACE, BacklogFull, KeyConflict
from raytasks.store import act_rows, bulk_statements, count_steps
from raytasks.store import task_selection as selection
from raytasks.store.transaction import Transaction

MAX_OPEN = 100
"""Maximum number of open operations."""

MAX_COUNTED = 100_000
"""Maximum number of tasks that are looked at to count the matches of a filter."""

MAX_LISTED = 100

KEPT_SECONDS = 30 * 86_400.0
"""Seconds for which a finished operation is remembered."""


def count(connection: Connection, asked: BulkFilter) -> int | None:
    """Return the number of tasks that a filter matches; None if they are too many to count."""
    tasks = asked.walked
    if tasks.is_counted:
        matched: int = sum(
            number
            for key, number in count_steps.read_counts(connection).items()
            if tasks.takes_count(*key)
        )
        return matched
    bound = {**selection.bound(tasks, None), "p_step": MAX_COUNTED + 1}
    statement = selection.counted(selection.shape_of(tasks, cursor=False))
    looked_at, found = connection.execute(statement, bound).one()
    return None if looked_at > MAX_COUNTED else int(found)


def make(transaction: Transaction, new: NewBulk, matched: int | None) -> tuple[BulkOperation, bool]:
    """Store a new operation; return it, and whether it was new. A repeated request makes none.

    Raises `KeyConflict` if its key was used for another request; `BacklogFull` if `MAX_OPEN`
    operations are open.
    """
    connection, asked = transaction.connection, new.filter
    known = one(connection, new.bulk_id, asked.namespace)
    if known is None and new.idempotency_key is not None:
        bound = {"p_namespace": asked.namespace, "p_key": new.idempotency_key}
        row = connection.execute(bulk_statements.BY_KEY, bound).first()
        known = None if row is None else _operation(row)
    if known is not None:
        if known.filter != asked:
            raise KeyConflict(
                "the Idempotency-Key was used for another request, which made the operation "
                f"{known.bulk_id}; use a new key for a new request"
            )
        return known, known.bulk_id == new.bulk_id
    if len(still_open(connection)) >= MAX_OPEN:
        raise BacklogFull(f"{MAX_OPEN} bulk operations are at work already; wait for one to end")
    connection.execute(bulk_statements.FORGET, {"p_finished_before": new.created_at - KEPT_SECONDS})
    made = BulkOperation(new.bulk_id, asked, new.bulk_id, matched, 0, 0, new.created_at, by=new.by)
    connection.execute(
        bulk_statements.MAKE,
        {
            "bulk_id": made.bulk_id,
            "namespace": asked.namespace,
            "action": asked.action.value,
            "filter": _filter_text(asked.tasks),
            "cursor": made.cursor,
            "matched": matched,
            "looked_at": 0,
            "changed": 0,
            "created_at": made.created_at,
            "idempotency_key": new.idempotency_key,
            "by": new.by,
        },
    )
    return made, True


def still_open(connection: Connection) -> list[BulkOperation]:
    """Return the open operations of all namespaces, the oldest first."""
    return [_operation(row) for row in connection.execute(bulk_statements.ALL_OPEN)]


def one(connection: Connection, bulk_id: str, namespace: str) -> BulkOperation | None:
    """Return an operation, or None if there is none of this id in the namespace."""
    bound = {"p_namespace": namespace, "p_bulk_id": bulk_id}
    row = connection.execute(bulk_statements.ONE, bound).first()
    return None if row is None else _operation(row)


def newest(connection: Connection, namespace: str) -> list[BulkOperation]:
    """Return the newest operations of a namespace, the newest first."""
    bound = {"p_namespace": namespace, "p_limit": MAX_LISTED}
    return [_operation(row) for row in connection.execute(bulk_statements.NEWEST, bound)]


def walk(
    transaction: Transaction, operation: BulkOperation, limit: int
) -> tuple[list[TaskHead], list[str]]:
    """Look at the next `limit` tasks behind the operation's cursor.

    Returns the tasks that the filter matches, and the ids of all that were looked at, newest first.
    If there are fewer ids than `limit`, no more tasks are left.
    """
    tasks = operation.filter.walked
    shape = selection.shape_of(tasks, cursor=True)
    bound = {**selection.bound(tasks, operation.cursor), "p_step": limit}
    statement = selection.looked_at(shape, bulk_statements.HEAD)
    found = transaction.connection.execute(statement, bound)
    rows = [(taken, _head(head)) for taken, *head in found]
    rows = sorted(rows, key=lambda row: row[1].task_id, reverse=True)[:limit]
    return [head for taken, head in rows if taken], [head.task_id for _, head in rows]


def act(
    transaction: Transaction, operation: BulkOperation, heads: Sequence[TaskHead], now: float
) -> list[TaskHead]:
    """Retry, cancel or delete tasks read in this transaction; return those that changed.

    A retry skips the tasks whose unique key is held. Each changed task that stays has a row that
    says who did it.
    """
    match operation.filter.action:
        case BulkAction.RETRY:
            refused, action = transaction.retry(heads), ActionName.RETRY
            changed = [head for head in heads if head.task_id not in refused]
        case BulkAction.CANCEL:
            changed = [head for head in heads if not head.cancel_requested]
            action = ActionName.CANCEL
            transaction.cancel(changed, cancel_reason(operation.by, None))
        case BulkAction.DELETE:
            deleted = set(transaction.prune([head.task_id for head in heads], math.inf))
            return [head for head in heads if head.task_id in deleted]
    acts = [
        TaskAct(head.task_id, head.revision, action, now, operation.by, operation.bulk_id)
        for head in changed
    ]
    act_rows.write_task_acts(transaction.connection, acts)
    return changed


def move(
    transaction: Transaction,
    operation: BulkOperation,
    looked_at: Sequence[str],
    changed: int,
    finished_at: float | None,
    skipped: int = 0,
) -> None:
    """Store the progress of an operation."""
    transaction.connection.execute(
        bulk_statements.MOVE,
        {
            "p_bulk_id": operation.bulk_id,
            "p_cursor": looked_at[-1] if looked_at else operation.cursor,
            "p_looked_at": len(looked_at),
            "p_changed": changed,
            "p_skipped": skipped,
            "p_finished_at": finished_at,
        },
    )


def _filter_text(tasks: TaskFilter) -> str:
    return json.encode(replace(tasks, namespace=DEFAULT_NAMESPACE)).decode()


def _head(row: Sequence[Any]) -> TaskHead:
    task_id, task_type, state, *rest = row
    return TaskHead(task_id, task_type, State(state), *rest)


def _operation(row: Row[Any]) -> BulkOperation:
    return BulkOperation(
        bulk_id=row.bulk_id,
        filter=BulkFilter(
            action=BulkAction(row.action),
            tasks=replace(json.decode(row.filter, type=TaskFilter), namespace=row.namespace),
        ),
        cursor=row.cursor,
        matched=row.matched,
        looked_at=row.looked_at,
        changed=row.changed,
        created_at=row.created_at,
        finished_at=row.finished_at,
        by=row.by or UNKNOWN,
        skipped=row.skipped,
    )
