"""The statements that end a new task at once: it cannot be done, or another one stands for it."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, Update, select, update

from raytasks.model.states import TRANSITIONS, Event
from raytasks.store.expiry import IDS, ROW
from raytasks.store.schema import tasks
from raytasks.store.statements import in_source_of, param

_THESE: Select[Any] = select(*ROW).where(IDS)


def _end(event: Event, **values: Any) -> Update:
    return (
        update(tasks)
        .where(IDS, in_source_of(event), tasks.c.attempt == 0)
        .values(
            state=TRANSITIONS[event].target.value,
            revision=tasks.c.revision + 1,
            ready=False,
            finished_at=param("now"),
            updated_at=param("now"),
            **values,
        )
    )


REFUSE: Update = _end(Event.REFUSE, error=param("error"), error_type=param("error_type"))
"""Ends a task as FAILED, with its error (JSON text) and the error's class."""

STAND_FOR: Update = _end(Event.CANCEL, cancel_reason=param("reason"))
"""Ends a task as CANCELLED, as another one stands for it; with the reason (JSON text)."""


def read(connection: Connection, task_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """Return new tasks by id, as `Transaction.end` takes them."""
    rows = connection.execute(_THESE, {"p_task_ids": list(task_ids)})
    return {row.task_id: row for row in rows}
