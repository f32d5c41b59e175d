"""Reads what the database says, whole: the only module of the chaos run that knows SQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, select

from raytasks.model.states import OutcomeKind
from raytasks.model.tasks import AttemptRecord
from raytasks.store.count_steps import read_counts
from raytasks.store.database import Database
from raytasks.store.schema import attempts, tasks
from raytasks.store.statements import TASK_COLUMNS
from raytasks.store.transaction import task_from
from tests.chaos.evidence import History


def read_history(url: str) -> History:
    """Return all tasks with their history, as of one moment."""
    with _reading(url) as connection:
        found = [task_from(row) for row in connection.execute(select(*TASK_COLUMNS))]
        columns = [attempts.c[name] for name in AttemptRecord.__struct_fields__]
        history = [_attempt(row) for row in connection.execute(select(*columns))]
        counted = read_counts(connection)
    return History(
        tasks=found,
        attempts=history,
        counts={(task_type, state): number for (_, task_type, state), number in counted.items()},
        tokens={task.task_id: from_json(task.payload)["token"] for task in found},
    )


def unfinished(url: str) -> list[str]:
    """Return the ids of the tasks that are not final."""
    with _reading(url) as connection:
        return list(
            connection.scalars(select(tasks.c.task_id).where(tasks.c.finished_at.is_(None)))
        )


@contextmanager
def _reading(url: str) -> Iterator[Connection]:
    database = Database(url)
    try:
        with database.reading() as connection:
            yield connection
    finally:
        database.close()


def _attempt(row: Any) -> AttemptRecord:
    values = dict(row._mapping)
    return AttemptRecord(**{**values, "outcome": OutcomeKind(values["outcome"])})
