"""The SQL statements of bulk operations, by name."""

from functools import cache
from typing import Any

from sqlalchemy import (
    Delete,
    Insert,
    Select,
    Update,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    union_all,
    update,
)
from sqlalchemy.sql.selectable import CompoundSelect

from raytasks.model.bulk_operations import TaskHead
from raytasks.store.schema import OPEN, bulk_operations, task_tags, tasks
from raytasks.store.statements import param

_HEAD = [tasks.c[name] for name in TaskHead.__slots__]

_OPERATION = [
    bulk_operations.c[name]
    for name in (
        "bulk_id",
        "cursor",
        "matched",
        "looked_at",
        "changed",
        "created_at",
        "finished_at",
        "action",
        "state",
        "task_type",
        "tag",
        "namespace",
        "by",
    )
]


ALL_OPEN: Select[Any] = select(*_OPERATION).where(OPEN).order_by(bulk_operations.c.bulk_id)

_IN_NAMESPACE = bulk_operations.c.namespace == param("namespace")

NEWEST: Select[Any] = (
    select(*_OPERATION)
    .where(_IN_NAMESPACE)
    .order_by(bulk_operations.c.bulk_id.desc())
    .limit(param("limit"))
)

ONE: Select[Any] = select(*_OPERATION).where(
    _IN_NAMESPACE, bulk_operations.c.bulk_id == param("bulk_id")
)

BY_KEY: Select[Any] = select(*_OPERATION).where(
    _IN_NAMESPACE, bulk_operations.c.idempotency_key == param("key")
)

MAKE: Insert = insert(bulk_operations)

MOVE: Update = (
    update(bulk_operations)
    .where(bulk_operations.c.bulk_id == param("bulk_id"))
    .values(
        cursor=param("cursor"),
        looked_at=bulk_operations.c.looked_at + param("looked_at"),
        changed=bulk_operations.c.changed + param("changed"),
        finished_at=param("finished_at"),
    )
)

FORGET: Delete = delete(bulk_operations).where(
    bulk_operations.c.finished_at < param("finished_before")
)

HEADS: Select[Any] = select(*_HEAD).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)


@cache
def matching(states: int, *, task_type: bool) -> CompoundSelect[Any]:
    """Return the query for tasks behind a cursor, newest first, with a limit for each state."""
    found = []
    for i in range(states):
        one = select(*_HEAD).where(
            tasks.c.namespace == param("namespace"),
            tasks.c.state == param(f"state_{i}"),
            tasks.c.task_id < param("cursor"),
        )
        if task_type:
            one = one.where(tasks.c.task_type == param("task_type"))
        found.append(one.order_by(tasks.c.task_id.desc()).limit(param("limit")).subquery())
    return union_all(*[select(one) for one in found])


@cache
def counted_by_tag(*, task_type: bool) -> Select[int, int]:
    """Return the query that counts the tasks with a tag, up to a limit, and those that match."""
    some = (
        select(task_tags.c.task_id)
        .where(task_tags.c.namespace == param("namespace"), task_tags.c.tag == param("tag"))
        .order_by(task_tags.c.task_id.desc())
        .limit(param("limit"))
        .subquery()
    )
    matches = tasks.c.state.in_(bindparam("p_states", expanding=True))
    if task_type:
        matches &= tasks.c.task_type == param("task_type")
    counted = select(func.count(), func.count(case((matches, 1))))
    return counted.select_from(some.join(tasks, tasks.c.task_id == some.c.task_id))
