"""The driver itself, in a transaction that SQLAlchemy has begun.

Errors are those that SQLAlchemy makes of the driver's, so that everybody sees one kind of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Protocol, Self

from psycopg import pq
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from raytasks.store.compiled import Batch, CompiledQuery, Row, arrays

Check = Callable[[int], None]
"""Is told how many rows a statement has changed, and raises where that must not be."""

PLANS_KEPT = 64
"""For how many pipelines, of which a tick has one or two, PostgreSQL keeps its plans. It would keep
them for up to a minute, though they were made when there were only a few tasks. That they do not go
through the table is also seen to by how the writer connects."""


class Direct(Protocol):
    """Statements of one transaction, in their order. Use it in a `with` block.

    Whether a statement did what it should may show only later: at the next read, at `flush`, or at
    the end of the block.
    """

    def write(self, batch: Batch, rows: Sequence[Row], check: Check | None = None) -> None:
        """Carry out a batch for rows, of which there is at least one."""

    def read(self, query: CompiledQuery, bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""

    def flush(self) -> None:
        """Be done with all statements before this, so that SQLAlchemy can go on."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End: as `flush` does, if there was no error."""


class SqliteDirect:
    """A call of the driver for each statement."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor: Any = connection.connection.cursor()

    def write(self, batch: Batch, rows: Sequence[Row], check: Check | None = None) -> None:
        """Carry out a batch for rows."""
        text = batch.for_rows
        with driver_errors(self._connection, text):
            if len(rows) == 1:
                self._cursor.execute(text, rows[0])
            else:
                self._cursor.executemany(text, rows)
        if check is not None:
            check(self._cursor.rowcount)

    def read(self, query: CompiledQuery, bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""
        with driver_errors(self._connection, query.text):
            rows: list[tuple[Any, ...]] = self._cursor.execute(
                query.text, query.values(bound)
            ).fetchall()
        return rows

    def flush(self) -> None:
        """Do nothing: every statement is done at once."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Put the cursor away."""
        self._cursor.close()


class PostgresDirect:
    """Statements that are sent together: the server is waited for only where a result is needed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._driver: Any = connection.connection.driver_connection
        self._pipeline: AbstractContextManager[Any] | None = None
        self._unchecked: list[tuple[Any, Check]] = []

    def write(self, batch: Batch, rows: Sequence[Row], check: Check | None = None) -> None:
        """Send a batch for rows."""
        text, values = batch.for_arrays, arrays(rows)
        with driver_errors(self._connection, text, self._check_done):
            cursor = self._sending().execute(text, values)
        if check is not None:
            self._unchecked.append((cursor, check))

    def read(self, query: CompiledQuery, bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds, as soon as all before it is done."""
        with driver_errors(self._connection, query.text, self._check_done):
            rows: list[tuple[Any, ...]] = (
                self._sending().execute(query.text, query.values(bound)).fetchall()
            )
        self._check_done()
        return rows

    def flush(self) -> None:
        """Wait for all statements, and check them."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            with driver_errors(self._connection, "", self._check_done):
                pipeline.__exit__(None, None, None)
        self._check_done()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; after an error nothing is checked any more, as all is rolled back."""
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
        """Check, in their order, what is done. What went wrong first is what has to be told."""
        unchecked, self._unchecked = self._unchecked, []
        for cursor, check in unchecked:
            result = cursor.pgresult
            if result is not None and result.status == pq.ExecStatus.COMMAND_OK:
                check(cursor.rowcount)


def direct(connection: Connection) -> Direct:
    """Return what goes straight to the connection's driver."""
    if connection.dialect.name == "postgresql":
        return PostgresDirect(connection)
    return SqliteDirect(connection)


@contextmanager
def driver_errors(
    connection: Connection, text: str, before: Callable[[], None] | None = None
) -> Iterator[None]:
    """Make an error of the driver one of SQLAlchemy, and give up a connection that is gone.

    `before` may raise what is more to the point.
    """
    dialect = connection.dialect
    driver: Any = dialect.loaded_dbapi
    try:
        yield
    except driver.Error as error:
        if before is not None:
            before()
        gone = dialect.is_disconnect(error, connection.connection.driver_connection, None)
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
