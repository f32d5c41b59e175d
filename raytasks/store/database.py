"""The connections: one writer and some readers, on SQLite or PostgreSQL, with common errors."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import (
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    InvalidRequestError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from raytasks.model.lines import one_line
from raytasks.model.tasks import StoreUnavailable
from raytasks.store.cursors import Direct, begin_itself, direct, driver_errors
from raytasks.store.cutting import check_not_cut, make_cuttable
from raytasks.store.database_url import parse_url, schema_of
from raytasks.store.postgres_sessions import postgres_engine
from raytasks.store.refusals import NO_WRITES, blames_command, unavailable
from raytasks.store.sqlite_file import SqliteFile

if TYPE_CHECKING:
    from raytasks.store.tables_upgrade import TablesUpgrade

BUSY_SECONDS = 5.0
"""Seconds that a transaction waits for a lock of SQLite, as `lock_timeout` says for PostgreSQL."""

MAX_LOG_BYTES = 64 * 1024 * 1024
"""Maximum bytes of SQLite's log (the file `-wal`); a longer one is emptied as soon as possible."""

_CHECKPOINT_PAGES = 4000
"""Number of pages in SQLite's log after which they are copied into the database, by a commit. Tasks
with keys change the same pages again and again: the more are in the log, the fewer are copied."""

_SHORTEN_SECONDS = 5.0  # between two tries
_SHORTEN_WAIT_MS = 100


_TAKES_WRITES = text("SELECT current_setting('transaction_read_only') = 'off'")


class WritesRefused(StoreUnavailable):
    """The server takes no writes, as it is a standby or is set so."""

    in_doubt = False


class Database:
    """A database at `url`: `sqlite:///file` or `postgresql://...`, with `?schema=` if it has one.

    With `reads_only` the database is somebody else's: a missing file is not created, and nothing
    can be written. Raises `DatabaseUrlError` for a bad URL. It connects only at the first use.
    """

    def __init__(self, url: str, *, reads_only: bool = False) -> None:
        self._given = url
        self.url = parse_url(url)
        self.schema = schema_of(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self._reads_only = reads_only
        self._file = SqliteFile(self.url) if self.is_sqlite and not reads_only else None
        self._shorten_at = 0.0
        self._writer = self._engine(pool_size=1, begin="BEGIN IMMEDIATE")
        self._reader = self._engine(pool_size=2 if reads_only else 4, begin="BEGIN")

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Begin a transaction that may write; it is committed when the block ends without an error.

        Raises `StoreUnavailable` when the database is away or cannot write. An error before the
        commit has begun leaves nothing in doubt.
        """
        with self.writing_directly() as (connection, _):
            yield connection

    @contextmanager
    def writing_directly(self) -> Iterator[tuple[Connection, Direct]]:
        """Do the same as `writing`, with direct use of the driver beside it."""
        committing: Direct | None = None
        translating, writing = translated(writes=True), self._writer.begin()
        try:
            with translating, writing as connection, direct(connection) as driver:
                yield connection, driver
                self.check_file()
                driver.wait_for_lock()
                check_not_cut()
                committing = driver
                driver.commit()
        except StoreUnavailable as error:
            may_be_there = committing is not None and not committing.refused
            error.in_doubt = error.in_doubt and may_be_there
            raise
        if self.is_sqlite:
            self._shorten_log()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin a transaction that sees one state of the database. Raises `StoreUnavailable`."""
        with translated(), self._reader.begin() as connection:
            yield connection

    def upgrade(self) -> None:
        """Apply the missing migrations, one process at a time.

        Raises `StoreUnavailable`, `WritesRefused` if the server takes no writes, and
        `TablesRefused` if the tables are not ours, or of a newer version.
        """
        if not self.is_sqlite:
            with self.writing() as connection:
                if not connection.execute(_TAKES_WRITES).scalar():
                    connection.invalidate()  # the next session may be another server's
                    raise WritesRefused(NO_WRITES)
        with translated(writes=True):
            self.tables().apply()

    def tables(self) -> "TablesUpgrade":
        """Return the upgrade of this database."""
        # It imports Alembic, which who only reads does without.
        from raytasks.store.tables_upgrade import TablesUpgrade

        online = None if self.is_sqlite else self._reader
        return TablesUpgrade(self.reading, self.writing, online, self.schema)

    def check_file(self) -> None:
        """Raise `StoreUnavailable` if it is an SQLite file that was deleted or replaced."""
        if self._file is not None:
            self._file.check()

    def give_up_connections(self) -> None:
        """Use new connections: one in use hangs, and does not come back."""
        self._writer.dispose(close=False)
        self._reader.dispose(close=False)

    def close(self) -> None:
        """Close all connections."""
        self._writer.dispose()
        self._reader.dispose()

    def _shorten_log(self) -> None:
        """Empty SQLite's log when it has grown too long, in the thread that writes.

        SQLite writes the log from its beginning again only when no reader needs it. With constant
        readers that may never happen, so this waits for them, for a short time.
        """
        now = time.monotonic()
        log = Path(f"{self.url.database}-wal")
        if now < self._shorten_at or _size(log) <= MAX_LOG_BYTES:
            return
        self._shorten_at = now + _SHORTEN_SECONDS
        with contextlib.suppress(DBAPIError, sqlite3.Error), self._writer.connect() as connection:
            driver: Any = connection.connection.driver_connection
            driver.execute(f"PRAGMA busy_timeout={_SHORTEN_WAIT_MS}")
            try:
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                driver.execute(f"PRAGMA busy_timeout={int(BUSY_SECONDS * 1000)}")

    def _engine(self, *, pool_size: int, begin: str) -> Engine:
        arguments: dict[str, Any] = {
            "pool_size": pool_size,
            "max_overflow": 0,
            "pool_timeout": 5,
            "hide_parameters": True,  # a traceback in the log has no data of users
        }
        if self.is_sqlite:
            arguments["connect_args"] = {"check_same_thread": False, "timeout": BUSY_SECONDS}
            if self._reads_only:
                arguments["creator"] = lambda: open_sqlite(self.url, timeout=BUSY_SECONDS)
            engine = create_engine(self.url, **arguments)
            _set_up_sqlite(engine, begin, reads_only=self._reads_only)
        else:
            writes = begin != "BEGIN"
            if not writes:  # a reading transaction sees one moment
                arguments["isolation_level"] = "REPEATABLE READ"
            engine = postgres_engine(
                self._given, keeps_plans=writes, reads_only=self._reads_only, **arguments
            )
            if writes:
                _set_up_writer(engine)
        if self._file is not None:
            self._file.watch(engine)
        make_cuttable(engine)
        # A read-only process tries again instead, which costs nothing while all is well.
        if not self.is_sqlite and begin == "BEGIN" and not self._reads_only:
            _ping_first(engine)
        return engine


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def open_sqlite(url: URL, *, timeout: float) -> sqlite3.Connection:
    """Open an existing file for reading. Its owner has set its journal mode."""
    # SQLAlchemy would misread a `?` or `%` in the path.
    uri = f"{Path(url.database or '').resolve().as_uri()}?mode=ro"
    return sqlite3.connect(
        uri, uri=True, timeout=timeout, isolation_level=None, check_same_thread=False
    )


def _set_up_sqlite(engine: Engine, begin: str, *, reads_only: bool) -> None:
    # The driver's own handling of transactions is switched off. So a transaction begins where we
    # say, and takes the write lock at once when it is going to write:
    # https://docs.sqlalchemy.org/en/21/dialects/sqlite.html
    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        if not reads_only:
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=FULL")
            cursor.execute(f"PRAGMA journal_size_limit={MAX_LOG_BYTES}")
            cursor.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        cursor.execute("PRAGMA cache_size=-32768")
        cursor.execute("PRAGMA temp_store=MEMORY")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        with driver_errors(connection, begin):
            connection.connection.cursor().execute(begin)


def _set_up_writer(engine: Engine) -> None:
    # The transaction before this one may have begun directly.
    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        with driver_errors(connection, "BEGIN"):
            begin_itself(connection.connection.driver_connection)


def _ping_first(engine: Engine) -> None:
    # Not `pool_pre_ping`: it runs before the call's connection is known. A ping that hangs could
    # then not be cut off.
    @event.listens_for(engine, "checkout")
    def _ping(connection: Any, _record: object, _proxy: object) -> None:
        try:
            engine.dialect.do_ping(connection)
        except Exception as error:
            raise DisconnectionError from error


@contextmanager
def translated(*, writes: bool = False) -> Iterator[None]:
    """Turn errors that mean an outage into `StoreUnavailable`.

    With `writes`, these are all errors except those that are a command's fault. See
    `raytasks.store.refusals`.
    """
    try:
        yield
    except DBAPIError as error:
        away = isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
        if blames_command(error) or not (away or writes):
            raise
        raise unavailable(error) from error
    except (PoolTimeoutError, InvalidRequestError) as error:
        raise StoreUnavailable(one_line(error)) from error
