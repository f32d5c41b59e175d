"""Tools for tests of the outbox: rows as writers insert them, and handlers that take them."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from typing import Any

import msgspec
from sqlalchemy import insert

from raytasks.model.handler_info import HandlerInfo, HandlerKind
from raytasks.store.database import Database
from raytasks.store.outbox_rows import task_outbox
from raytasks.store.store import Store
from raytasks.tracker.core import Tracker
from tests.making import NOW, task_id
from tests.tracking import PATIENCE, tracker_on


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


def write_raw(store: Store, row: dict[str, Any], **raw: str) -> None:
    """Commit a row of SQLite as it is, whatever its types are; `raw` are values as SQL."""
    names = [*row, *raw]
    values = [*("?" for _ in row), *raw.values()]
    with closing(sqlite3.connect(store._database.url.database or "")) as other, other:
        other.execute(
            f"INSERT INTO task_outbox ({', '.join(names)}) VALUES ({', '.join(values)})",
            [*row.values()],
        )


@asynccontextmanager
async def reading(store: Store, **options: Any) -> AsyncIterator[Tracker]:
    """A tracker that takes rows of the types `short` and `long`."""
    async with tracker_on(store, clock=lambda: NOW, **options) as tracker:
        tracker.set_handlers([info(), info("long", max_attempts=7, timeout_seconds=5.0)])
        yield tracker


async def until_taken(store: Store, *, left: int = 0) -> None:
    """Wait until so few rows are left."""
    async with asyncio.timeout(PATIENCE):
        while store.outbox_size()[0].rows > left:  # noqa: ASYNC110 - a row has no signal
            await asyncio.sleep(0.005)


async def until_state(tracker: Tracker, **expected: Any) -> None:
    """Wait until the reader says so of the outbox."""
    async with asyncio.timeout(PATIENCE):
        while not expected.items() <= vars(tracker.outbox.state).items():  # noqa: ASYNC110 - it has no signal
            await asyncio.sleep(0.005)
