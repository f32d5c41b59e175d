"""The table of unique keys: who holds which key, and how a key is taken and given free.

Only transactions of the tracker write it, so a look at the holders is true until the commit.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Delete, Insert, Select, bindparam, delete, insert, select

from raytasks.model.uniqueness import UniqueUntil, decode_unique
from raytasks.store.schema import unique_keys
from raytasks.store.statements import param


class KeyName(NamedTuple):
    """The full name of a unique key. A key counts within a namespace and a task type."""

    namespace: str
    task_type: str
    key: str


class KeyRow(NamedTuple):
    """A key that a task is to hold, at most until `ends_at` (seconds since the epoch)."""

    name: KeyName
    task_id: str
    until: UniqueUntil
    ends_at: float | None


_COLUMNS = unique_keys.c
_IDS = _COLUMNS.task_id.in_(bindparam("p_task_ids", expanding=True))

_HOLDERS: Select[Any] = select(_COLUMNS.unique_key, _COLUMNS.task_id).where(
    _COLUMNS.namespace == param("namespace"),
    _COLUMNS.task_type == param("task_type"),
    _COLUMNS.unique_key.in_(bindparam("p_keys", expanding=True)),
    _COLUMNS.ends_at.is_(None) | (_COLUMNS.ends_at > param("now")),
)

_REMOVE: Delete = delete(unique_keys).where(
    _COLUMNS.namespace == param("namespace"),
    _COLUMNS.task_type == param("task_type"),
    _COLUMNS.unique_key == param("key"),
)

_TAKE: Insert = insert(unique_keys)

_GIVE_FREE: Delete = delete(unique_keys).where(_IDS)

_BEGIN: Delete = delete(unique_keys).where(_IDS, _COLUMNS.until == UniqueUntil.STARTED.value)


def key_row(namespace: str, task_type: str, task_id: str, spec: str, now: float) -> KeyRow:
    """Return the row of a task that takes its key at `now`. `spec` is its key as JSON."""
    unique = decode_unique(spec)
    ends_at = None if unique.seconds is None else now + unique.seconds
    return KeyRow(KeyName(namespace, task_type, unique.key), task_id, unique.until, ends_at)


def holders(connection: Connection, names: Iterable[KeyName], now: float) -> dict[KeyName, str]:
    """Return the ids of the tasks that hold keys at `now`. A free key is not in the result."""
    groups: dict[tuple[str, str], set[str]] = {}
    for name in names:
        groups.setdefault((name.namespace, name.task_type), set()).add(name.key)
    return {
        KeyName(namespace, task_type, key): task_id
        for (namespace, task_type), keys in groups.items()
        for key, task_id in connection.execute(
            _HOLDERS,
            {
                "p_namespace": namespace,
                "p_task_type": task_type,
                "p_keys": sorted(keys),
                "p_now": now,
            },
        )
    }


def take(connection: Connection, rows: Sequence[KeyRow]) -> None:
    """Let tasks hold keys that are free, or that they hold already. Each key is there once."""
    if not rows:
        return
    connection.execute(
        _REMOVE, [{f"p_{n}": v for n, v in row.name._asdict().items()} for row in rows]
    )
    connection.execute(
        _TAKE,
        [
            {
                "namespace": row.name.namespace,
                "task_type": row.name.task_type,
                "unique_key": row.name.key,
                "task_id": row.task_id,
                "until": row.until.value,
                "ends_at": row.ends_at,
            }
            for row in rows
        ],
    )


def give_free(connection: Connection, task_ids: Sequence[str]) -> None:
    """Give the keys of tasks free that have ended. A key that another has taken over stays."""
    connection.execute(_GIVE_FREE, {"p_task_ids": list(task_ids)})


def begin(connection: Connection, task_ids: Sequence[str]) -> None:
    """Give the keys of tasks free that are held only until the first attempt was claimed."""
    connection.execute(_BEGIN, {"p_task_ids": list(task_ids)})
