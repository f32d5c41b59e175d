"""Direct use of the driver in a transaction that SQLAlchemy has begun.

Errors of the driver become SQLAlchemy's, so that callers see only one kind.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from raytasks.store.compiled import CompiledQuery, Row, RowStatement, arrays
from raytasks.store.refusals import takes_no_writes

Check = Callable[[int], None]
"""The check of the number of rows that a statement has changed: raises if it is wrong."""

# libpq's PGRES_COMMAND_OK and PGRES_TUPLES_OK. A service on SQLite does without psycopg.
_DONE = (1, 2)

PLANS_KEPT = 64
"""Number of pipelines for which PostgreSQL keeps its plans; a tick has one or two. It would keep
plans for up to a minute, though they were made when there were only a few tasks. The writer's
connection settings also prevent plans that scan the table."""


class Direct(Protocol):
    """The statements of one transaction, in order. Use it in a `with` block.

    A failed check may show only later: at the next read, at `flush`, or at the end of the block.
    """

    def write(self, batch: RowStatement, rows: Sequence[Row], check: Check | None = None) -> None:
        """Execute a batch for rows, of which there is at least one."""

    def lock(
        self, table: str, query: CompiledQuery, bound: Mapping[str, Any], check: Check
    ) -> None:
        """Lock a table against others that write or lock it; then `check` how many rows it finds.

        The query sees what was committed until it had the lock.
        """

    def read(self, query: CompiledQuery, bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""

    def read_each(
        self, query: CompiledQuery, bound: Iterable[Mapping[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds with each of these values, in their order."""

    def flush(self) -> None:
        """Complete all statements before this, so that SQLAlchemy can go on."""

    def __enter__(self) -> Self:
        """Begin the block."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the block: like `flush`, if there was no error."""


class SqliteDirect:
    """The SQLite driver: one call for each statement."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor: Any = connection.connection.cursor()

    def write(self, batch: RowStatement, rows: Sequence[Row], check: Check | None = None) -> None:
        """Execute a batch for rows."""
        text = batch.for_rows
        with driver_errors(self._connection, text):
            if len(rows) == 1:
                self._cursor.execute(text, rows[0])
            else:
                self._cursor.executemany(text, rows)
        if check is not None:
            check(self._cursor.rowcount)

    def lock(
        self,
        table: str,  # noqa: ARG002 - the whole file is locked
        query: CompiledQuery,
        bound: Mapping[str, Any],
        check: Check,
    ) -> None:
        """Look for the rows of a query: a transaction that writes has the whole file."""
        check(len(self.read_each(query, (bound,))))

    def read(self, query: CompiledQuery, bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        return self.read_each(query, (bound,))

    def read_each(
        self, query: CompiledQuery, bound: Iterable[Mapping[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds with each of these values, in their order."""
        rows: list[tuple[Any, ...]] = []
        cursor, text = self._cursor, query.text
        with driver_errors(self._connection, text):
            for values in bound:
                rows += cursor.execute(text, query.values(values))
        return rows

    def flush(self) -> None:
        """Do nothing: every statement is complete at once."""

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the cursor."""
        self._cursor.close()


class PostgresDirect:
    """The PostgreSQL driver: statements are sent together, and it waits only for needed results."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._driver: Any = connection.connection.driver_connection
        self._pipeline: AbstractContextManager[Any] | None = None
        self._unchecked: list[tuple[Any, Check]] = []

    def write(self, batch: RowStatement, rows: Sequence[Row], check: Check | None = None) -> None:
        """Send a batch for rows."""
        text, values = batch.for_arrays, arrays(rows)
        with driver_errors(self._connection, text, self._check_done):
            cursor = self._sending().execute(text, values)
        if check is not None:
            self._unchecked.append((cursor, check))

    def lock(
        self, table: str, query: CompiledQuery, bound: Mapping[str, Any], check: Check
    ) -> None:
        """Send the lock and the query. The check is made with those of `write`.

        The lock of a row would be written into PostgreSQL's log, and that of a table is not. This
        one lets readers pass, and waits for writers.
        """
        with driver_errors(self._connection, query.text, self._check_done):
            self._sending().execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
            cursor = self._sending().execute(query.text, query.values(bound))
        self._unchecked.append((cursor, check))

    def read(self, query: CompiledQuery, bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds, after all statements before it."""
        with driver_errors(self._connection, query.text, self._check_done):
            rows: list[tuple[Any, ...]] = (
                self._sending().execute(query.text, query.values(bound)).fetchall()
            )
        self._check_done()
        return rows

    def read_each(
        self, query: CompiledQuery, bound: Iterable[Mapping[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds with each of these values, in their order."""
        return [row for values in bound for row in self.read(query, values)]

    def flush(self) -> None:
        """Wait for all statements, and check them."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            with driver_errors(self._connection, "", self._check_done):
                pipeline.__exit__(None, None, None)
        self._check_done()

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the block; after an error nothing is checked, as everything is rolled back."""
        if kind is None:
            self.flush()
        elif self._pipeline is not None:
            self._pipeline.__exit__(kind, error, trace)

    def _sending(self) -> Any:
        if self._pipeline is None:
            pipeline: AbstractContextManager[Any] = self._driver.pipeline()
            pipeline.__enter__()
            self._pipeline = pipeline
            if self._plans_are_old():
                self._driver.cursor().execute("DISCARD PLANS")
        return self._driver.cursor(binary=True)

    def _plans_are_old(self) -> bool:
        info = self._connection.info  # lives as long as the driver's connection
        used: int = info.get("plans_used", 0) + 1
        info["plans_used"] = used % PLANS_KEPT
        return used == PLANS_KEPT

    def _check_done(self) -> None:
        """Check completed statements in order, so that the first error is reported."""
        unchecked, self._unchecked = self._unchecked, []
        for cursor, check in unchecked:
            result = cursor.pgresult
            if result is not None and result.status in _DONE:
                check(cursor.rowcount)


def direct(connection: Connection) -> Direct:
    """Return direct access to the connection's driver."""
    if connection.dialect.name == "postgresql":
        return PostgresDirect(connection)
    return SqliteDirect(connection)


@contextmanager
def driver_errors(
    connection: Connection, text: str, before: Callable[[], None] | None = None
) -> Iterator[None]:
    """Turn a driver's error into SQLAlchemy's, and invalidate a lost connection.

    First `before` is called; it may raise a more precise error.
    """
    dialect = connection.dialect
    driver: Any = dialect.loaded_dbapi
    try:
        yield
    except driver.Error as error:
        if before is not None:
            before()
        gone = dialect.is_disconnect(error, connection.connection.driver_connection, None)
        gone |= takes_no_writes(error)
        if gone:
            connection.invalidate(error)
        raise DBAPIError.instance(
            text,
            None,
            error,
            driver.Error,
            connection_invalidated=gone,
            dialect=dialect,
        ) from error
