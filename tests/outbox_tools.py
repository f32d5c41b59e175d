"""Tools for tests of the outbox: rows as writers insert them, and handlers that take them."""

from typing import Any

import msgspec
from sqlalchemy import insert

from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.store.database import Database
from raytasks.store.outbox_rows import task_outbox
from raytasks.store.store import Store
from tests.making import NOW, task_id


def info(task_type: str = "short", **changes: Any) -> HandlerInfo:
    """Return the description of a handler."""
    return HandlerInfo(task_type, HandlerKind.FUNCTION, (1, 1), **changes)


def outbox_values(number: int, *, at: float = NOW, **changes: Any) -> dict[str, Any]:
    """Return a row of the outbox: `changes` are columns of it, or members of its document."""
    row: dict[str, Any] = {"id": task_id(number), "kind": "submit", "namespace": "default"}
    row |= {name: changes.pop(name) for name in ("id", "kind", "namespace") if name in changes}
    document = {"task_type": "short", "payload": {}, **changes}
    text = changes.get("document", msgspec.json.encode(document).decode())
    return {**row, "document": text, "created_at": at}


def write_rows(store: Store, *rows: dict[str, Any]) -> None:
    """Commit rows, as somebody else than the tracker."""
    database = Database(store._database.url.render_as_string(hide_password=False))
    try:
        with database.writing() as connection:
            connection.execute(insert(task_outbox), list(rows))
    finally:
        database.close()
