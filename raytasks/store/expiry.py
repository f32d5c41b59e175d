"""The statements about tasks that expire: those that have never begun by their time."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Update, bindparam, func, select, update

from raytasks.model.acts import EXPIRED
from raytasks.model.states import TRANSITIONS, Event
from raytasks.store.lane_statements import IN_LANE
from raytasks.store.schema import EXPIRING, tasks
from raytasks.store.statements import in_source_of, param

MAX_EXPIRED = 2000
"""Maximum number of tasks that one transaction lets expire because their time has come."""

ROW = [
    *IN_LANE,
    *(
        tasks.c[name]
        for name in (
            *("task_id", "state", "attempt", "revision", "tags", "ready"),
            *("unique_spec", "callback_url"),
        )
    ),
]
"""The columns that the end of a task needs which has never begun."""

_IS_DUE = EXPIRING, tasks.c.expires_at <= param("now")
IDS = tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))

_DUE: Select[Any] = select(*ROW).where(*_IS_DUE).order_by(tasks.c.expires_at).limit(param("limit"))
_THESE: Select[Any] = select(*ROW).where(IDS, *_IS_DUE)

_NEXT: Select[Any] = select(func.min(tasks.c.expires_at)).where(EXPIRING)

EXPIRE: Update = (
    update(tasks)
    .where(IDS, in_source_of(Event.EXPIRE), tasks.c.attempt == 0)
    .values(
        state=TRANSITIONS[Event.EXPIRE].target.value,
        revision=tasks.c.revision + 1,
        ready=False,
        cancel_reason=EXPIRED,
        finished_at=param("now"),
        updated_at=param("now"),
    )
)


ExpiringRow = Row[Any]
"""A task that has expired: its place in its lane, and what its end needs to know."""


def next_expiry(connection: Connection) -> float | None:
    """Return the time when the next task that has never begun expires; None if none does."""
    found: float | None = connection.execute(_NEXT).scalar()
    return found


def due(connection: Connection, now: float) -> Sequence[ExpiringRow]:
    """Return tasks that have expired, at most `MAX_EXPIRED`, the longest expired first."""
    return connection.execute(_DUE, {"p_now": now, "p_limit": MAX_EXPIRED}).all()


def among(connection: Connection, task_ids: Sequence[str], now: float) -> Sequence[ExpiringRow]:
    """Return those of some tasks that have expired."""
    return connection.execute(_THESE, {"p_now": now, "p_task_ids": list(task_ids)}).all()
