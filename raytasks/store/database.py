"""Connections: one writer and some readers, on SQLite or PostgreSQL, and one kind of trouble."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from raytasks.models import RaytasksError, StoreUnavailable
from raytasks.store.direct import driver_errors

_MIGRATIONS = Path(__file__).parent / "migrations"
# A server that has gone without a word is noticed after some seconds; and a tracker that is frozen
# within a transaction (in milliseconds here) does not hold up the one that takes its place.
_POSTGRES = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c idle_in_transaction_session_timeout=5000",
}
# A tick's statements are the same each time, and go by an index however many tasks there are: plans
# that are kept save some of the server's time (python -m benchmarks.store_cost).
_WRITER_PLANS = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off"
_MIGRATION_LOCK = 0x7261797461736B73  # "raytasks", for PostgreSQL's advisory lock


class DatabaseUrlError(RaytasksError):
    """DATABASE_URL is not one that raytasks can use. The text says why."""


class Database:
    """A database that is reached by `url`: `sqlite:///file` or `postgresql://...`.

    With `reads_only` it is one that somebody else has made: a file that is missing is not made, and
    nothing can be written. Raises `DatabaseUrlError` for a bad URL. Nothing is connected before the
    first use.
    """

    def __init__(self, url: str, *, reads_only: bool = False) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._reads_only = reads_only
        self._writer = self._engine(pool_size=1, begin="BEGIN IMMEDIATE")
        self._reader = self._engine(pool_size=2 if reads_only else 4, begin="BEGIN")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """One transaction that may write; committed when the block ends without an error.

        Raises `StoreUnavailable` when the database is away or cannot write.
        """
        with translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One transaction that sees one state of the database. Raises `StoreUnavailable`."""
        with translated(), self._reader.begin() as connection:
            yield connection

    def upgrade(self) -> None:
        """Apply the migrations that are missing, one process at a time.

        Raises `StoreUnavailable`.
        """
        config = Config()
        # The configuration takes `%` for the beginning of a name.
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        with self.writing() as connection:
            if not self.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def close(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._reader.dispose()

    def _engine(self, *, pool_size: int, begin: str) -> Engine:
        arguments: dict[str, Any] = {"pool_size": pool_size, "max_overflow": 0, "pool_timeout": 10}
        if self.is_sqlite:
            arguments["connect_args"] = {"check_same_thread": False, "timeout": 5}
            if self._reads_only:
                arguments["creator"] = lambda: open_sqlite(self.url, timeout=5)
        else:
            more = "" if begin == "BEGIN" else _WRITER_PLANS
            arguments["connect_args"] = postgres_arguments(more, reads_only=self._reads_only)
            # Who only reads tries again instead, which costs nothing while all is well.
            arguments["pool_pre_ping"] = begin == "BEGIN" and not self._reads_only
            if begin == "BEGIN":  # all statements of a transaction that reads see one moment
                arguments["isolation_level"] = "REPEATABLE READ"
        engine = create_engine(self.url, **arguments)
        if self.is_sqlite:
            _set_up_sqlite(engine, begin, reads_only=self._reads_only)
        return engine


def parse_url(url: str) -> URL:
    """Return the URL with the driver that raytasks uses. Raises `DatabaseUrlError`."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseUrlError(
            "DATABASE_URL: not a database URL; use sqlite:///./tasks.db or "
            "postgresql://user:password@host/name"
        ) from None
    match parsed.drivername:
        case "sqlite" | "sqlite+pysqlite":
            if not parsed.database or parsed.database.startswith((":memory:", "file::memory:")):
                raise DatabaseUrlError(
                    "DATABASE_URL: a database in memory keeps nothing; name a file, "
                    "as in sqlite:///./tasks.db"
                )
            return parsed.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return parsed.set(drivername="postgresql+psycopg")
        case other:
            raise DatabaseUrlError(
                f"DATABASE_URL: {other!r} is not supported; use sqlite or postgresql"
            )


def postgres_arguments(options: str = "", *, reads_only: bool) -> dict[str, Any]:
    """Return how the driver is to connect, with more `options` of the server for the session."""
    if reads_only:
        options = f"{options} -c default_transaction_read_only=on"
    return _POSTGRES | {"options": f"{_POSTGRES['options']} {options}".strip()}


def open_sqlite(url: URL, *, timeout: float) -> sqlite3.Connection:
    """Open a file that is there, to read it. Its owner has set its journal mode."""
    # SQLAlchemy would take a `?` or `%` in the path for something else.
    uri = f"{Path(url.database or '').resolve().as_uri()}?mode=ro"
    return sqlite3.connect(
        uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )


def _set_up_sqlite(engine: Engine, begin: str, *, reads_only: bool) -> None:
    # The driver's own handling of transactions is switched off, so that a transaction begins
    # where we say, and takes the write lock at once when it is going to write:
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        if not reads_only:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA cache_size=-32768")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        with driver_errors(connection, begin):
            connection.connection.cursor().execute(begin)


@contextmanager
def translated() -> Iterator[None]:
    """Make the errors that mean that the database is away `StoreUnavailable`."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise StoreUnavailable(_one_line(error.orig or error)) from error
    except PoolTimeoutError as error:
        raise StoreUnavailable(_one_line(error)) from error
    except DBAPIError as error:
        if error.connection_invalidated or _only_reads(error):
            raise StoreUnavailable(_one_line(error.orig or error)) from error
        raise


def was_cut(error: StoreUnavailable) -> bool:
    """Return whether a connection was there before, so that a new one may do."""
    cause = error.__cause__
    return isinstance(cause, DBAPIError) and cause.connection_invalidated


def _only_reads(error: DBAPIError) -> bool:
    # PostgreSQL after a failover: we are still connected to what is a standby now.
    return getattr(error.orig, "sqlstate", None) == "25006"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
