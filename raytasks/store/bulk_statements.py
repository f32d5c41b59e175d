"""The SQL statements of bulk operations, by name."""

from typing import Any

from sqlalchemy import (
    Delete,
    Insert,
    Select,
    Update,
    delete,
    insert,
    select,
    update,
)

from raytasks.model.bulk_operations import TaskHead
from raytasks.store.schema import OPEN, tasks
from raytasks.store.service_tables import bulk_operations
from raytasks.store.statements import param

HEAD = [tasks.c[name] for name in TaskHead.__slots__]

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
        "filter",
        "namespace",
        "by",
        "skipped",
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
        skipped=bulk_operations.c.skipped + param("skipped"),
        finished_at=param("finished_at"),
    )
)

FORGET: Delete = delete(bulk_operations).where(
    bulk_operations.c.finished_at < param("finished_before")
)
