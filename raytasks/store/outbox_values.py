"""The values in a row of the outbox. SQLite keeps whatever a writer gives it.

PostgreSQL refuses most of that. A malformed row must stop no other, so it is read all the same. It
tells which of its columns hold what they cannot have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection

from raytasks.model.outbox_documents import SUBMIT_KIND, OutboxRow
from raytasks.model.tasks import is_task_id

_PLACE = "rowid "
_MAX_SHOWN = 100
_MAX_TIME = 253_402_300_799.0  # the end of the year 9999

_COLUMNS: tuple[tuple[str, Any, Any], ...] = (
    ("kind", str, SUBMIT_KIND),
    ("namespace", str, ""),
    ("document", str | None, None),
    ("created_at", float, 0.0),
)
"""The columns beside the id, the type of each, and what stands for a value of another type."""


class NoUtf8(bytes):
    """The bytes of a text of SQLite that is no UTF-8."""


def is_id(value: object) -> bool:
    """Return whether the value of an id can be the id of a task."""
    return isinstance(value, str) and is_task_id(value)


def place_of(rowid: int) -> str:
    """Return what names a row of SQLite that has no id of a task."""
    return f"{_PLACE}{rowid}"


def rowid_of(row_id: str) -> int | None:
    """Return the number in a name of `place_of`; None of the id of a task."""
    return int(row_id.removeprefix(_PLACE)) if row_id.startswith(_PLACE) else None


def time_of(value: object) -> float:
    """Return a time, in seconds since the epoch; 0.0 if the value is none."""
    return value if isinstance(value, float) and 0.0 < value <= _MAX_TIME else 0.0


def row_of(
    row_id: Any,
    kind: Any,
    namespace: Any,
    created_at: Any,
    *,
    document: Any,
    rowid: int | None = None,
) -> OutboxRow:
    """Return the row with these values; without an id of a task it is named by its `rowid`."""
    given = {"kind": kind, "namespace": namespace, "document": document, "created_at": created_at}
    mistyped: dict[str, str] = {}
    for name, kinds, nothing in _COLUMNS:
        if not isinstance(given[name], kinds):
            mistyped[name] = _type_of(given[name])
            given[name] = nothing
    given["created_at"] = time_of(given["created_at"])
    wrong_id = None
    if rowid is not None and not is_id(row_id):
        row_id, wrong_id = place_of(rowid), repr(row_id[:_MAX_SHOWN])
    return OutboxRow(row_id, **given, wrong_id=wrong_id, mistyped=mistyped)


@contextmanager
def any_text(connection: Connection) -> Iterator[None]:
    """Read texts that are no UTF-8 as `NoUtf8`, where the driver would raise an error."""
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    driver.text_factory = _text
    try:
        yield
    finally:
        driver.text_factory = str


def _text(value: bytes) -> str | NoUtf8:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return NoUtf8(value)


def _type_of(value: object) -> str:
    return "text that is no UTF-8" if isinstance(value, NoUtf8) else type(value).__name__
