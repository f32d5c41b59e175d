"""The deletion of tasks that have ended, with all that is kept of them."""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Table, Text, any_, bindparam, cast, delete, select
from sqlalchemy.dialects.postgresql import ARRAY

from raytasks.model.states import State
from raytasks.store import files
from raytasks.store.compiled import (
    CompiledQuery,
    RowStatement,
    Values,
    Words,
    arrays,
    postgres_dialect,
)
from raytasks.store.count_changes import CountChanges
from raytasks.store.cursors import Direct
from raytasks.store.schema import ENDED, attempts, key_aliases, task_actions, task_logs, tasks
from raytasks.store.tag_rows import tags_of, untag


class _Pruned(NamedTuple):
    task_id: str
    task_type: str
    state: str
    namespace: str
    tags: str | None
    has_files: bool | None


_COLUMNS = [tasks.c[name] for name in _Pruned._fields[1:]]
_OUTDATED = (ENDED, tasks.c.finished_at < bindparam("p_before"))
_STILL_OUTDATED: Select[Any] = select(cast(tasks.c.task_id, Text), *_COLUMNS).where(*_OUTDATED)

_AMONG: Select[Any] = _STILL_OUTDATED.where(
    tasks.c.task_id.in_(bindparam("p_task_ids", expanding=True))
)


@cache
def _among_array() -> CompiledQuery:
    """Return the query of PostgreSQL: with a parameter for each id it takes many times as long."""
    ids = cast(bindparam("p_task_ids"), ARRAY(tasks.c.task_id.type))
    return CompiledQuery(_STILL_OUTDATED.where(tasks.c.task_id == any_(ids)), postgres_dialect())


def _delete_from(table: Table) -> RowStatement:
    def make(values: Values, _words: Words) -> Any:
        return delete(table).where(table.c.task_id == values["task_id"])

    return RowStatement({"task_id": tasks.c.task_id}, make)


_DELETES = tuple(map(_delete_from, (attempts, task_logs, task_actions, key_aliases, tasks)))


def prune(
    connection: Connection,
    direct: Direct,
    changes: CountChanges,
    task_ids: Sequence[str],
    before: float,
    now: float,
) -> list[str]:
    """Delete those of these tasks that ended before `before`; return their ids.

    Their files are scheduled for removal.
    """
    if not task_ids:
        return []
    rows = [_Pruned(*row) for row in _still_outdated(connection, direct, task_ids, before)]
    if not rows:
        return []
    for statement in _DELETES:
        direct.write(statement, [(row.task_id,) for row in rows])
    direct.flush()
    untag(connection, tags_of(rows))
    # Whether a task from before 0.2 has files is unknown.
    with_files = [(row.task_id, files.ALL) for row in rows if row.has_files is not False]
    files.mark(connection, with_files, now)
    for row in rows:
        changes.prune(row.namespace, row.task_type, State(row.state))
    return [row.task_id for row in rows]


def _still_outdated(
    connection: Connection, direct: Direct, task_ids: Sequence[str], before: float
) -> list[Any]:
    if connection.dialect.name == "postgresql":
        [ids] = arrays([(task_id,) for task_id in task_ids])
        found: list[Any] = direct.read(_among_array(), {"p_task_ids": ids, "p_before": before})
        direct.flush()
        return found
    return [*connection.execute(_AMONG, {"p_task_ids": list(task_ids), "p_before": before})]
