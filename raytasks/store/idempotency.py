"""The search for repeated submissions, by their idempotency keys."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Insert, Select, bindparam, insert, select

from raytasks.model.tasks import Duplicate, NewTask
from raytasks.model.uniqueness import decode_unique
from raytasks.store import statements
from raytasks.store.schema import key_aliases

_ALIASES: Select[Any] = select(
    key_aliases.c.idempotency_key, key_aliases.c.task_id, key_aliases.c.request_digest
).where(
    key_aliases.c.namespace == statements.param("namespace"),
    key_aliases.c.idempotency_key.in_(bindparam("p_keys", expanding=True)),
)

_ADD_ALIAS: Insert = insert(key_aliases)


def find_duplicates(connection: Connection, new: Sequence[NewTask]) -> dict[str, Duplicate]:
    """Return the submissions whose key is taken. See `Transaction.duplicates`."""
    found: dict[str, Duplicate] = {}
    for namespace in {task.namespace for task in new if task.idempotency_key is not None}:
        keyed = [
            task for task in new if task.idempotency_key is not None and task.namespace == namespace
        ]
        owners = _owners(connection, statements.BY_KEYS, namespace, keyed)
        unique = [task for task in keyed if task.unique_spec is not None]
        aliases = _owners(connection, _ALIASES, namespace, unique) if unique else {}
        for task in keyed:
            mine = (task.task_id, task.request_digest)
            key, asked = task.idempotency_key or "", None
            if task.unique_spec is not None and key in aliases and key not in owners:
                owner, digest = aliases[key]
                asked = decode_unique(task.unique_spec).on_conflict
            else:
                owner, digest = owners.setdefault(key, mine)
            if owner != task.task_id:
                same = digest == task.request_digest
                found[task.task_id] = Duplicate(owner, same, asked if same else None)
    return found


def remember_answers(
    connection: Connection, new: Sequence[NewTask], answered: Mapping[str, Duplicate]
) -> None:
    """Store the idempotency keys of submissions that were answered with another task.

    So the same request again has the same answer.
    """
    rows = [
        {
            "namespace": task.namespace,
            "idempotency_key": task.idempotency_key,
            "task_id": duplicate.task_id,
            "request_digest": task.request_digest,
        }
        for task in new
        if task.idempotency_key is not None
        for duplicate in [answered.get(task.task_id)]
        if duplicate is not None and duplicate.same
    ]
    if rows:
        connection.execute(_ADD_ALIAS, rows)


def _owners(
    connection: Connection, statement: Select[Any], namespace: str, keyed: Sequence[NewTask]
) -> dict[str, tuple[str, str | None]]:
    """Return the task and the digest of each key that is known."""
    bound = {"p_namespace": namespace, "p_keys": [task.idempotency_key for task in keyed]}
    rows = connection.execute(statement, bound)
    return {row.idempotency_key: (row.task_id, row.request_digest) for row in rows}
