"""The acts of people in the database: the acts on each task, and the audit of the service."""

import secrets
from collections.abc import Sequence
from typing import Any

from msgspec import json
from sqlalchemy import Connection, Delete, Select, delete, insert, select

from raytasks.model.acts import ActionName, AuditEntry, AuditPage, NewAudit, TaskAct
from raytasks.protocol.queries import AuditList
from raytasks.store.schema import task_actions
from raytasks.store.service_tables import audit
from raytasks.store.statements import param
from raytasks.store.task_selection import SHOWN_SECONDS

MAX_SHOWN = 100
"""Maximum number of acts that are read with a task: the newest."""

_ACT = [task_actions.c[name] for name in TaskAct.__struct_fields__]
_ENTRY = [audit.c[name] for name in AuditEntry.__struct_fields__]

_NEWEST: Select[Any] = (
    select(*_ACT)
    .where(task_actions.c.task_id == param("task_id"))
    .order_by(task_actions.c.revision.desc())
    .limit(MAX_SHOWN)
)

_SINCE: Select[Any] = (
    select(*_ACT)
    .where(task_actions.c.task_id == param("task_id"), task_actions.c.revision >= param("revision"))
    .order_by(task_actions.c.revision)
    .limit(param("limit"))
)

_FORGET: Delete = delete(audit).where(
    audit.c.audit_id.in_(
        select(audit.c.audit_id)
        .where(audit.c.at < param("before"))
        .order_by(audit.c.at)
        .limit(param("limit"))
    )
)


def write_task_acts(connection: Connection, acts: Sequence[TaskAct]) -> None:
    """Store the acts that changed tasks in this transaction."""
    if acts:
        rows = [{name: getattr(act, name) for name in TaskAct.__struct_fields__} for act in acts]
        connection.execute(insert(task_actions), rows)


def write_audit(
    connection: Connection, acts: Sequence[NewAudit], now: float, first: int = 0
) -> list[AuditEntry]:
    """Store acts of this transaction in the audit, and return them as they are stored.

    `first` is how many acts of this transaction were stored before.
    """
    entries = [
        AuditEntry(
            audit_id=_audit_id(now, place),
            at=now,
            by=act.by,
            action=act.action.value,
            namespace=act.namespace,
            target=act.target,
            details=None if act.details is None else json.encode(act.details).decode(),
        )
        for place, act in enumerate(acts, first)
    ]
    if entries:
        rows = [
            {name: getattr(item, name) for name in AuditEntry.__struct_fields__} for item in entries
        ]
        connection.execute(insert(audit), rows)
    return entries


def acts_of(connection: Connection, task_id: str) -> list[TaskAct]:
    """Return the newest acts on a task, in order; at most `MAX_SHOWN`."""
    rows = connection.execute(_NEWEST, {"p_task_id": task_id})
    return [_act(row) for row in rows][::-1]


def acts_since(connection: Connection, task_id: str, revision: int, limit: int) -> list[TaskAct]:
    """Return the acts on a task from a revision on, in order."""
    bound = {"p_task_id": task_id, "p_revision": revision, "p_limit": limit}
    return [_act(row) for row in connection.execute(_SINCE, bound)]


def page(connection: Connection, query: AuditList) -> AuditPage:
    """Return a page of the audit."""
    statement = select(*_ENTRY).order_by(audit.c.audit_id.desc()).limit(query.limit + 1)
    if query.cursor is not None:
        statement = statement.where(audit.c.audit_id < query.cursor)
    if query.since is not None:  # an id begins with the time of its act
        since = query.since - SHOWN_SECONDS / 2
        first = _as_uuid(_milliseconds(since) << 80)
        statement = statement.where(audit.c.audit_id >= first, audit.c.at >= since)
    for column, wanted in (
        (audit.c.by, query.by),
        (audit.c.action, query.action),
        (audit.c.namespace, query.namespace),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    entries = [AuditEntry(*row) for row in connection.execute(statement)]
    more = len(entries) > query.limit
    entries = entries[: query.limit]
    return AuditPage(entries, entries[-1].audit_id if more else None)


def forget(connection: Connection, before: float, limit: int) -> int:
    """Delete the oldest acts of the audit from before a time; return how many."""
    return connection.execute(_FORGET, {"p_before": before, "p_limit": limit}).rowcount


def _act(row: Any) -> TaskAct:
    task_id, revision, action, *rest = row
    return TaskAct(task_id, revision, ActionName(action), *rest)


def _audit_id(now: float, place: int) -> str:
    """Return the id of an act: a UUID of version 7. Those of one transaction are in order."""
    number = _milliseconds(now) << 80 | 0x7 << 76 | (place & 0xFFF) << 64 | 0b10 << 62
    return _as_uuid(number | secrets.randbits(62))


def _milliseconds(seconds: float) -> int:
    return max(0, int(seconds * 1000)) & 0xFFFF_FFFF_FFFF


def _as_uuid(number: int) -> str:
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
