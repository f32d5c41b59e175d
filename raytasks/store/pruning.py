"""The deletion of tasks that have ended, with all that is kept of them."""

from collections.abc import Sequence

from sqlalchemy import Connection

from raytasks.model.states import State
from raytasks.store import files, statements
from raytasks.store.count_changes import CountChanges
from raytasks.store.tag_rows import tags_of, untag


def prune(
    connection: Connection,
    changes: CountChanges,
    task_ids: Sequence[str],
    before: float,
    now: float,
) -> list[str]:
    """Delete those of these tasks that ended before `before`; return their ids.

    Their files are scheduled for removal.
    """
    bound = {"p_task_ids": list(task_ids), "p_before": before}
    rows = connection.execute(statements.STILL_OUTDATED, bound).all()
    if not rows:
        return []
    pruned = [row.task_id for row in rows]
    for statement in statements.PRUNE:
        connection.execute(statement, {"p_task_ids": pruned})
    untag(connection, tags_of(rows))
    # Whether a task from before 0.2 has files is unknown.
    with_files = [(row.task_id, files.ALL) for row in rows if row.has_files is not False]
    files.mark(connection, with_files, now)
    for row in rows:
        changes.prune(row.namespace, row.task_type, State(row.state))
    return pruned
