"""The state of a database as an operator needs it: revision, sizes, and what hinders the vacuum."""

import sqlite3
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.sql import func, quoted_name

from raytasks.store import count_steps
from raytasks.store.all_tables import TABLE_NAMES
from raytasks.store.count_tables import count_steps as count_steps_table
from raytasks.store.database import Database
from raytasks.store.database_url import without_password
from raytasks.store.postgres_sessions import POOLED
from raytasks.store.service_tables import task_counts
from raytasks.store.tables_upgrade import TablesRefused, head

HOLD_SECONDS = 60.0
"""From this age on, a transaction is shown that holds a snapshot."""

_MAX_QUERY = 80


@dataclass(frozen=True)
class TableSize:
    """One table of ours: its rows (estimated on PostgreSQL) and bytes with indexes.

    `dead_rows` wait for the vacuum; `vacuumed_at` is its last run, in seconds since the epoch. What
    the database does not say is None.
    """

    name: str
    rows: int
    bytes: int | None = None
    dead_rows: int | None = None
    vacuumed_at: float | None = None


@dataclass(frozen=True)
class SnapshotHolder:
    """A transaction, or a replication slot, that holds a snapshot: no vacuum gets behind it.

    `seconds` is the age of the transaction; None for a slot.
    """

    name: str
    seconds: float | None
    state: str
    query: str


@dataclass
class DatabaseStatus:
    """The report of `raytasks db status`.

    - `server`: the program and its version. `pooled`: a pooler stands before it.
    - `revision`: that of the tables; None without tables. `refused`: why they are not ours.
    - `missing`: the revisions that an upgrade would apply. `complete`: it has nothing to do.
    - `tasks`: how many there are by state. `bytes`: the size of all tables.
    - `holders`: the oldest first; those from `HOLD_SECONDS` on.
    """

    place: str
    server: str
    head: str
    schema: str | None = None
    pooled: bool = False
    revision: str | None = None
    refused: str | None = None
    missing: list[str] = field(default_factory=list)
    complete: bool = False
    tasks: dict[str, int] = field(default_factory=dict)
    tables: list[TableSize] = field(default_factory=list)
    bytes: int = 0
    holders: list[SnapshotHolder] = field(default_factory=list)


_SIZES = text(
    "SELECT pg_class.relname, greatest(reltuples, 0)::bigint AS rows, "
    "pg_total_relation_size(pg_class.oid) AS bytes, n_dead_tup AS dead, "
    "extract(epoch FROM greatest(last_vacuum, last_autovacuum))::float8 AS vacuumed "
    "FROM pg_class JOIN pg_stat_all_tables ON relid = pg_class.oid "
    "WHERE pg_class.oid = ANY(SELECT to_regclass(name) FROM unnest(CAST(:names AS text[])) name) "
    "ORDER BY bytes DESC, pg_class.relname"
)
_HOLDERS = text(
    "SELECT coalesce(nullif(application_name, ''), 'no name') || ', user ' "
    "|| coalesce(usename, '?') || ', pid ' || pid AS name, "
    "extract(epoch FROM clock_timestamp() - xact_start)::float8 AS seconds, state, query "
    "FROM pg_stat_activity WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) "
    "AND xact_start < clock_timestamp() - make_interval(secs => :seconds) "
    "AND backend_type = 'client backend' AND pid <> pg_backend_pid() "
    "UNION ALL SELECT 'prepared transaction ' || gid, "
    "extract(epoch FROM clock_timestamp() - prepared)::float8, 'prepared', '' "
    "FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - make_interval(secs => :seconds) "
    "UNION ALL SELECT 'replication slot ' || slot_name, NULL, "
    "CASE WHEN active THEN 'active' ELSE 'inactive' END, '' "
    "FROM pg_replication_slots WHERE xmin IS NOT NULL "
    "ORDER BY seconds DESC NULLS LAST"
)


def read_status(url: str) -> DatabaseStatus:
    """Return the state of the database at `url`, which is only read.

    Raises `DatabaseUrlError` and `StoreUnavailable`.
    """
    database = Database(url, reads_only=True)
    try:
        with database.reading() as connection:
            status = DatabaseStatus(
                without_password(url), _server(connection), head(), database.schema
            )
            status.pooled = bool(connection.info.get(POOLED))
            try:
                status.missing = database.tables().missing(connection)
                status.revision = database.tables().present(connection)
            except TablesRefused as error:
                status.refused = str(error)
            if status.refused is None:
                _measure(connection, database, status)
            if not database.is_sqlite:
                status.holders = _holders(connection)
        status.complete = status.refused is None and database.tables().is_up_to_date()
    finally:
        database.close()
    return status


def _measure(connection: Connection, database: Database, status: DatabaseStatus) -> None:
    found = set(inspect(connection).get_table_names()) & TABLE_NAMES
    if task_counts.name in found:
        has_steps = count_steps_table.name in found
        counts = count_steps.read_states(connection, has_steps=has_steps)
        status.tasks = {state.value: number for state, number in counts.items()}
    if database.is_sqlite:
        file = Path(database.url.database or "")
        status.bytes = sum(size for part in ("", "-wal") if (size := _size(Path(f"{file}{part}"))))
        status.tables = [TableSize(name, _count(connection, name)) for name in sorted(found)]
        return
    rows = connection.execute(_SIZES, {"names": sorted(found)})
    status.tables = [TableSize(*row) for row in rows]
    status.bytes = sum(table.bytes or 0 for table in status.tables)


def _count(connection: Connection, name: str) -> int:
    rows: int = connection.execute(
        select(func.count()).select_from(text(quoted_name(name, quote=True)))
    ).scalar_one()
    return rows


def _holders(connection: Connection) -> list[SnapshotHolder]:
    rows = connection.execute(_HOLDERS, {"seconds": HOLD_SECONDS})
    return [
        SnapshotHolder(
            row.name, row.seconds, row.state or "", " ".join(row.query.split())[:_MAX_QUERY]
        )
        for row in rows
    ]


def _server(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    version: str = connection.exec_driver_sql("SHOW server_version").scalar_one()
    return f"PostgreSQL {version.split()[0]}"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
