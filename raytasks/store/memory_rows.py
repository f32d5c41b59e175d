"""Attempts that ran out of memory, for the next attempts of their tasks."""

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, bindparam, func, select

from raytasks.model.states import OutcomeKind
from raytasks.store.place_rows import ATTEMPTS, attempt_places
from raytasks.store.schema import attempts

_SHORT = (
    select(attempts.c.task_id, func.coalesce(attempts.c.node_id, attempt_places.c.node_id))
    .select_from(ATTEMPTS)
    .where(
        attempts.c.task_id.in_(bindparam("task_ids", expanding=True)),
        attempts.c.outcome == OutcomeKind.OUT_OF_MEMORY.value,
    )
    .order_by(attempts.c.task_id, attempts.c.attempt)
)


def nodes_short_of_memory(
    connection: Connection, task_ids: Iterable[str]
) -> Mapping[str, tuple[str, ...]]:
    """Return Ray's ids of the nodes where attempts of these tasks ran out of memory, by task.

    There is one for each such attempt, the oldest first; it is empty where the node is not known.
    """
    found: dict[str, tuple[str, ...]] = {}
    for task_id, node_id in connection.execute(_SHORT, {"task_ids": list(task_ids)}):
        found[task_id] = (*found.get(task_id, ()), node_id or "")
    return found
