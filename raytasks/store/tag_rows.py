"""The tags of tasks as rows of their table."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic_core import from_json
from sqlalchemy import Connection, Delete, bindparam, delete, insert

from raytasks.store.schema import task_tags

TagRow = tuple[str, str, str]
"""Namespace, tag and task id."""

_UNTAG: Delete = delete(task_tags).where(
    task_tags.c.namespace == bindparam("p_namespace"),
    task_tags.c.tag == bindparam("p_tag"),
    task_tags.c.task_id == bindparam("p_task_id"),
)


def tags_of(rows: Iterable[Any]) -> list[TagRow]:
    """Return namespace, tag and task id of each tag of new or stored tasks."""
    return [
        (row.namespace, tag, row.task_id)
        for row in rows
        if row.tags is not None
        for tag in from_json(row.tags)
    ]


def untag(connection: Connection, rows: Sequence[TagRow]) -> None:
    """Delete rows of tags."""
    if rows:
        bound = [
            {"p_namespace": space, "p_tag": tag, "p_task_id": name} for space, tag, name in rows
        ]
        connection.execute(_UNTAG, bound)


def tag(connection: Connection, rows: Sequence[TagRow]) -> None:
    """Insert rows of tags."""
    if rows:
        values = [{"namespace": space, "tag": name, "task_id": task} for space, name, task in rows]
        connection.execute(insert(task_tags), values)
