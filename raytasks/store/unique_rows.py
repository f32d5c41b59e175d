"""The table of unique keys: who holds which key, and how a key is taken and given free.

Only transactions of the tracker write it, so a look at the holders is true until the commit.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol

from sqlalchemy import Connection, Delete, Insert, Select, bindparam, delete, insert, select

from raytasks.model.uniqueness import UniqueUntil, decode_unique
from raytasks.store.schema import unique_keys
from raytasks.store.statements import param


class Keyed(Protocol):
    """A task with a unique key."""

    @property
    def task_id(self) -> str:
        """Its id."""

    @property
    def namespace(self) -> str:
        """Its namespace."""

    @property
    def task_type(self) -> str:
        """Its type."""

    @property
    def unique_spec(self) -> str | None:
        """Its key and its terms, as JSON."""


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


def wanted_by(task: Keyed, now: float) -> KeyRow:
    """Return the row with which a task takes its key at `now`."""
    assert task.unique_spec is not None, "the task has no unique key"
    unique = decode_unique(task.unique_spec)
    ends_at = None if unique.seconds is None else now + unique.seconds
    name = KeyName(task.namespace, task.task_type, unique.key)
    return KeyRow(name, task.task_id, unique.until, ends_at)


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


def begin(connection: Connection, claimed: Iterable[Keyed]) -> None:
    """Give the keys of claimed tasks free that are held only until the first attempt."""
    task_ids = [
        task.task_id
        for task in claimed
        if task.unique_spec is not None
        and decode_unique(task.unique_spec).until is UniqueUntil.STARTED
    ]
    if task_ids:
        connection.execute(_BEGIN, {"p_task_ids": task_ids})


def retake(connection: Connection, rows: Sequence[Keyed], now: float) -> dict[str, str]:
    """Let tasks that a person retries take their keys again.

    Returns the ids of the holders of keys that are not free, by the id of the task that was
    refused. Of several tasks with the same key the first one takes it.
    """
    if not rows:
        return {}
    wanted = [wanted_by(row, now) for row in rows]
    held = holders(connection, [row.name for row in wanted], now)
    taken: dict[KeyName, KeyRow] = {}
    refused: dict[str, str] = {}
    for row in wanted:
        holder = held.setdefault(row.name, row.task_id)
        if holder == row.task_id:
            taken[row.name] = row
        else:
            refused[row.task_id] = holder
    take(connection, list(taken.values()))
    return refused
