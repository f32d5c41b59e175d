"""The places of the values of keyed limits in the database, by task type.

So a later tracker knows which waiting tasks have values of a former version.
"""

from msgspec import json
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Double,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
)

from raytasks.model.limit_places import LimitPlaces
from raytasks.store.schema import metadata
from raytasks.store.statements import param

# Types without keyed limits have a row only if they had some.
limit_places = Table(
    "limit_places",
    metadata,
    Column("task_type", String(100), primary_key=True),
    Column("present", Text, nullable=False),  # JSON: a pointer by the name of the limit
    Column("former", Text, nullable=False),  # JSON: pointers by the name of the limit
    Column("since", Double, nullable=False),
    Column("moved", Boolean, nullable=False),
    sqlite_with_rowid=False,
)

_ALL = select(*limit_places.c)
_FORGET = delete(limit_places).where(limit_places.c.task_type == param("task_type"))
_ADD = insert(limit_places)


def read_places(connection: Connection) -> dict[str, LimitPlaces]:
    """Return the known places by task type."""
    return {
        row.task_type: LimitPlaces(
            json.decode(row.present), json.decode(row.former), row.since, row.moved
        )
        for row in connection.execute(_ALL)
    }


def write_places(connection: Connection, task_type: str, places: LimitPlaces) -> None:
    """Store the places of a type in place of those that were known."""
    connection.execute(_FORGET, {"p_task_type": task_type})
    row = {
        "task_type": task_type,
        "present": json.encode(places.present).decode(),
        "former": json.encode(places.former).decode(),
        "since": places.since,
        "moved": places.moved,
    }
    connection.execute(_ADD, [row])
