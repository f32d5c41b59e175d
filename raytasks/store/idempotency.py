"""The search for repeated submissions, by their idempotency keys."""

from collections.abc import Sequence

from sqlalchemy import Connection

from raytasks.model.tasks import Duplicate, NewTask
from raytasks.store import statements


def find_duplicates(connection: Connection, new: Sequence[NewTask]) -> dict[str, Duplicate]:
    """Return the submissions whose key is taken. See `Transaction.duplicates`."""
    found: dict[str, Duplicate] = {}
    for namespace in {task.namespace for task in new if task.idempotency_key is not None}:
        keyed = [
            task for task in new if task.idempotency_key is not None and task.namespace == namespace
        ]
        rows = connection.execute(
            statements.BY_KEYS,
            {
                "p_namespace": namespace,
                "p_keys": [task.idempotency_key for task in keyed],
            },
        )
        owners = {row.idempotency_key: (row.task_id, row.request_digest) for row in rows}
        for task in keyed:
            mine = (task.task_id, task.request_digest)
            owner, digest = owners.setdefault(task.idempotency_key, mine)
            if owner != task.task_id:
                found[task.task_id] = Duplicate(owner, same=digest == task.request_digest)
    return found
