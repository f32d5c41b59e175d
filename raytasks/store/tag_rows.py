"""The tags of tasks as rows of their table."""

from collections.abc import Iterable
from typing import Any

from pydantic_core import from_json


def tags_of(rows: Iterable[Any]) -> list[tuple[str, str, str]]:
    """Return namespace, tag and task id of each tag of new or stored tasks."""
    return [
        (row.namespace, tag, row.task_id)
        for row in rows
        if row.tags is not None
        for tag in from_json(row.tags)
    ]
