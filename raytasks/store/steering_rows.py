"""The settings of people in the database: bounds of limits, sizes of pools, weights, pauses."""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, insert, select

from raytasks.model.steering import (
    LimitSetting,
    NamespaceSetting,
    Pause,
    PoolSetting,
    Removal,
    Setting,
    Steering,
    SteeringChange,
    key_of,
)
from raytasks.store.statements import param
from raytasks.store.steering_tables import (
    limit_settings,
    namespace_settings,
    pauses,
    pool_settings,
)

_TABLES: dict[type[Setting], Table] = {
    LimitSetting: limit_settings,
    PoolSetting: pool_settings,
    NamespaceSetting: namespace_settings,
    Pause: pauses,
}
_ENDED = delete(pauses).where(pauses.c.until <= param("now"))


def read_all(connection: Connection) -> Steering:
    """Return all that is set. Pauses that have ended may be among it."""
    found = Steering()
    return found.changed(
        (row for kind in _TABLES for row in _rows(connection, kind)), now=float("-inf")
    )


def namespaces(connection: Connection) -> Mapping[str, NamespaceSetting]:
    """Return the shares of namespaces that are set."""
    return Steering().changed(_rows(connection, NamespaceSetting), now=0.0).namespaces


def write(connection: Connection, changes: Iterable[SteeringChange], now: float) -> None:
    """Store settings in place of those with the same keys, remove others, and ended pauses."""
    connection.execute(_ENDED, {"p_now": now})
    for change in changes:
        kind, key = change if isinstance(change, Removal) else (type(change), key_of(change))
        table = _TABLES[kind]
        connection.execute(delete(table).where(_is(table, key)))
        if not isinstance(change, Removal):
            row = {name: getattr(change, name) for name in change.__struct_fields__}
            connection.execute(insert(table), [row])


def _rows(connection: Connection, kind: type[Setting]) -> Iterable[Setting]:
    columns = [_TABLES[kind].c[name] for name in kind.__struct_fields__]
    return [kind(*row) for row in connection.execute(select(*columns))]


def _is(table: Table, key: Any) -> ColumnElement[bool]:
    values = key if isinstance(key, tuple) else (key,)
    return and_(*(column == value for column, value in zip(table.primary_key, values, strict=True)))
