"""The schedules in the database: their rows, and the firing of those that are due."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import json
from sqlalchemy import (
    Column,
    Connection,
    Double,
    Row,
    String,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    insert,
    select,
    update,
)

from raytasks.model.schedule_specs import ScheduleKey, SchedulePage, ScheduleRow, ScheduleSpec
from raytasks.model.tasks import NewTask
from raytasks.protocol.queries import ScheduleList
from raytasks.store.schema import metadata, tasks
from raytasks.store.statements import param
from raytasks.store.transaction import FenceBroken, Transaction

schedules = Table(
    "schedules",
    metadata,
    Column("namespace", String(63), primary_key=True),
    Column("name", String(63), primary_key=True),
    Column("next_at", Double, nullable=False),
    Column("anchor_at", Double, nullable=False),
    # What the handlers declare, and what a person has set instead, as JSON: one of them is there.
    Column("declared", Text),
    Column("override", Text),
    Column("changed_at", Double),
    Column("by", String(128)),
    Column("paused_at", Double),
    Column("paused_by", String(128)),
    Column("last_for", Double),
    Column("last_at", Double),
    Column("last_task_id", tasks.c.task_id.type),
    sqlite_with_rowid=False,
)

_COLUMNS = [
    cast(schedules.c[name], Text) if name == "last_task_id" else schedules.c[name]
    for name in ScheduleRow.__struct_fields__
]
_SPECS = ("declared", "override")
_KNOWN = select(cast(tasks.c.task_id, Text), tasks.c.finished_at).where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)
_MOVE = (
    update(schedules)
    .where(
        schedules.c.namespace == param("namespace"),
        schedules.c.name == param("name"),
        schedules.c.next_at == param("was"),
    )
    .values(next_at=param("next_at"))
)
_NOTE = (
    update(schedules)
    .where(schedules.c.namespace == param("namespace"), schedules.c.name == param("name"))
    .values(last_for=param("last_for"), last_at=param("now"), last_task_id=param("task_id"))
)
_DELETE = delete(schedules).where(
    schedules.c.namespace == param("namespace"), schedules.c.name == param("name")
)


@dataclass(frozen=True, slots=True)
class Firing:
    """The firing of a schedule: the tasks of the times that have come, and its next time.

    - `was`: its next time until now, by which the change is fenced; `next_at`: the one from now on.
    - `tasks`: stamped tasks, in the order of their times. Perhaps none: the times are skipped.
    - `not_beside`: the tasks are left out while this one is open.
    - `by`: the person who has asked for it; None if its time has come.
    """

    key: ScheduleKey
    was: float
    next_at: float
    tasks: tuple[NewTask, ...] = ()
    not_beside: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Fired:
    """The result of a firing: the tasks to be stored, and whether an open one was in the way."""

    firing: Firing
    tasks: tuple[NewTask, ...]
    was_open: bool = False


def fire(transaction: Transaction, firings: Sequence[Firing], now: float) -> list[Fired]:
    """Move schedules to their next times, and return the tasks that are to be stored with it.

    Raises `FenceBroken` if the next time of one is not as expected.
    """
    asked = {task.task_id for firing in firings for task in firing.tasks}
    asked |= {firing.not_beside for firing in firings if firing.not_beside is not None}
    connection = transaction.connection
    known = _known(connection, asked)
    done = [_fired(firing, known) for firing in firings]
    moved = [firing for firing in firings if firing.next_at != firing.was]
    if moved:
        bound = [
            {
                "p_namespace": firing.key.namespace,
                "p_name": firing.key.name,
                "p_was": firing.was,
                "p_next_at": firing.next_at,
            }
            for firing in moved
        ]
        changed = connection.execute(_MOVE, bound).rowcount
        if changed != len(moved):
            raise FenceBroken(f"{changed} of {len(moved)} schedules were as expected")
    if noted := [item for item in done if item.tasks]:
        connection.execute(_NOTE, [_last(item, now) for item in noted])
    return done


def _fired(firing: Firing, known: dict[str, bool]) -> Fired:
    if firing.not_beside is not None and known.get(firing.not_beside, False):
        return Fired(firing, (), was_open=bool(firing.tasks))
    return Fired(firing, tuple(task for task in firing.tasks if task.task_id not in known))


def _last(item: Fired, now: float) -> dict[str, Any]:
    last = item.tasks[-1]
    return {
        "p_namespace": item.firing.key.namespace,
        "p_name": item.firing.key.name,
        "p_last_for": last.scheduled_for,
        "p_now": now,
        "p_task_id": last.task_id,
    }


def _known(connection: Connection, task_ids: Collection[str]) -> dict[str, bool]:
    """Return whether each of the tasks that exist is open."""
    if not task_ids:
        return {}
    rows = connection.execute(_KNOWN, {"p_task_ids": sorted(task_ids)})
    return {task_id: finished_at is None for task_id, finished_at in rows}


def read_all(connection: Connection) -> list[ScheduleRow]:
    """Return all schedules."""
    return [_row(row) for row in connection.execute(select(*_COLUMNS))]


def page(connection: Connection, asked: ScheduleList) -> SchedulePage:
    """Return a page of a namespace's schedules, by name."""
    found = (
        select(*_COLUMNS)
        .where(schedules.c.namespace == asked.namespace)
        .order_by(schedules.c.name)
        .limit(asked.limit + 1)
    )
    if asked.name is not None:
        found = found.where(schedules.c.name == asked.name)
    if asked.cursor is not None:
        found = found.where(schedules.c.name > asked.cursor)
    rows = [_row(row) for row in connection.execute(found)]
    more = len(rows) > asked.limit
    rows = rows[: asked.limit]
    return SchedulePage(rows, rows[-1].name if more else None)


def write(
    connection: Connection, rows: Sequence[ScheduleRow], removed: Iterable[ScheduleKey]
) -> None:
    """Store schedules in place of those with the same keys, and delete others."""
    keys = [*removed, *(row.key for row in rows)]
    if keys:
        bound = [{"p_namespace": key.namespace, "p_name": key.name} for key in keys]
        connection.execute(_DELETE, bound)
    if rows:
        connection.execute(insert(schedules), [_values(row) for row in rows])


def _values(row: ScheduleRow) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in ScheduleRow.__struct_fields__}
    for name in _SPECS:
        values[name] = None if values[name] is None else json.encode(values[name]).decode()
    return values


def _row(row: Row[Any]) -> ScheduleRow:
    values = dict(zip(ScheduleRow.__struct_fields__, row, strict=True))
    for name in _SPECS:
        values[name] = None if values[name] is None else _spec(values[name])
    return ScheduleRow(**values)


def _spec(text: str) -> ScheduleSpec:
    return json.decode(text, type=ScheduleSpec)
