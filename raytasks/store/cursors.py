"""Direct use of the driver in a transaction that SQLAlchemy has begun.

Errors of the driver become SQLAlchemy's, so that callers see only one kind.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from raytasks.store.compiled import CompiledQuery, Row, RowStatement, arrays
from raytasks.store.refusals import takes_no_writes

PLANS_KEPT = 64
"""Number of pipelines for which PostgreSQL keeps its plans; a tick has one or two. It would keep
plans for up to a minute, though they were made when there were only a few tasks. The writer's
connection settings also prevent plans that scan the table."""

BRIEF_MS = 300
"""Milliseconds for which a transaction waits for a lock that others hold, if only briefly."""

_IDLE = 0  # libpq's PQTRANS_IDLE. A service on SQLite does without psycopg.
_COUNTED = re.compile(r"raytasks: (\d+) rows")  # see `compiled.counted`


@dataclass(frozen=True)
class Fence:
    """The `rows` that a statement must find, and the error if they are more or fewer."""

    rows: int
    broken: Callable[[int], Exception]

    def check(self, found: int) -> None:
        """Raise the error unless the number of rows is right."""
        if found != self.rows:
            raise self.broken(found)


class Direct(Protocol):
    """The statements of one transaction, in order. Use it in a `with` block.

    A broken fence may show only later: at the next read, at `flush`, or at the commit.
    """

    refused: bool
    """Whether the database has answered with an error, so that nothing was committed."""

    def write(self, batch: RowStatement, rows: Sequence[Row], fence: Fence | None = None) -> None:
        """Execute a batch for rows, of which there is at least one."""

    def lock(
        self, table: str, query: CompiledQuery, bound: Mapping[str, Any], fence: Fence
    ) -> None:
        """Lock a table against others that write or lock it; then look for the rows of a fence.

        The query sees what was committed until it had the lock.
        """

    def read(self, query: CompiledQuery, bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds."""

    def read_each(
        self, query: CompiledQuery, bound: Iterable[Mapping[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds with each of these values, in their order."""

    def wait_briefly(self) -> None:
        """Wait only for `BRIEF_MS` for each further lock of rows or tables in this transaction."""

    def flush(self) -> None:
        """Complete all statements before this, so that SQLAlchemy can go on."""

    def wait_for_lock(self) -> None:
        """Wait until `lock` has the lock, or the first `write` with a fence is done.

        Only then may a commit be sent: see `Store.renew`.
        """

    def commit(self) -> None:
        """Commit, if that saves time; else SQLAlchemy does it afterwards."""

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

    refused = False

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._cursor: Any = connection.connection.cursor()

    def write(self, batch: RowStatement, rows: Sequence[Row], fence: Fence | None = None) -> None:
        """Execute a batch for rows."""
        text = batch.for_rows
        with driver_errors(self._connection, text):
            if len(rows) == 1:
                self._cursor.execute(text, rows[0])
            else:
                self._cursor.executemany(text, rows)
        if fence is not None:
            fence.check(self._cursor.rowcount)

    def lock(
        self,
        table: str,  # noqa: ARG002 - the whole file is locked
        query: CompiledQuery,
        bound: Mapping[str, Any],
        fence: Fence,
    ) -> None:
        """Look for the rows of a query: a transaction that writes has the whole file."""
        fence.check(len(self.read_each(query, (bound,))))

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

    def wait_briefly(self) -> None:
        """Do nothing: the whole file is locked already."""

    def flush(self) -> None:
        """Do nothing: every statement is complete at once."""

    def wait_for_lock(self) -> None:
        """Do nothing: every statement is complete at once."""

    def commit(self) -> None:
        """Do nothing: SQLAlchemy commits."""

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(self, *_error: object) -> None:
        """Close the cursor."""
        self._cursor.close()


class PostgresDirect:
    """The PostgreSQL driver: statements are sent together, and it waits only for needed results.

    So `BEGIN` goes with the first statement, and `COMMIT` with the last. Fences are checked by the
    server, as nobody else could stop the commit behind them.
    """

    def __init__(self, connection: Connection) -> None:
        self.refused = False
        self._connection = connection
        self._driver: Any = connection.connection.driver_connection
        self._pipeline: AbstractContextManager[Any] | None = None
        self._fences: list[tuple[Any, Fence]] = []

    def write(self, batch: RowStatement, rows: Sequence[Row], fence: Fence | None = None) -> None:
        """Send a batch for rows."""
        values = arrays(rows)
        if fence is None:
            self._send(batch.for_arrays, values)
        else:
            self._send(batch.for_fence, [*values, fence.rows], fence)

    def lock(
        self, table: str, query: CompiledQuery, bound: Mapping[str, Any], fence: Fence
    ) -> None:
        """Send the lock and the query.

        The lock of a row would be written into PostgreSQL's log, and that of a table is not. This
        one lets readers pass, and waits for writers.
        """
        self._send(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")
        self._send(query.for_fence, [*query.values(bound), fence.rows], fence)

    def read(self, query: CompiledQuery, bound: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds, after all statements before it."""
        with driver_errors(self._connection, query.text, self._judge):
            rows: list[tuple[Any, ...]] = (
                self._sending().execute(query.text, query.values(bound)).fetchall()
            )
        return rows

    def read_each(
        self, query: CompiledQuery, bound: Iterable[Mapping[str, Any]]
    ) -> list[tuple[Any, ...]]:
        """Return the rows that a query finds with each of these values, in their order."""
        return [row for values in bound for row in self.read(query, values)]

    def wait_briefly(self) -> None:
        """Send the time that the next locks may take."""
        self._send(f"SET LOCAL lock_timeout = '{BRIEF_MS}ms'")

    def flush(self) -> None:
        """Wait for all statements."""
        if self._pipeline is not None:
            pipeline, self._pipeline = self._pipeline, None
            with driver_errors(self._connection, "", self._judge):
                pipeline.__exit__(None, None, None)

    def wait_for_lock(self) -> None:
        """Wait for the answer to the first fence, which mostly is there: it was asked for."""
        if self._fences and (cursor := self._fences[0][0]).pgresult is None:
            with driver_errors(self._connection, "", self._judge):
                cursor.fetchall()

    def commit(self) -> None:
        """Commit in one round trip with the statements before; without any, do nothing."""
        if self._pipeline is None:
            return
        cursor = self._send("COMMIT", prepare=False)
        self.flush()
        if cursor.statusmessage != "COMMIT":  # so a transaction ends that has failed before
            raise RuntimeError(f"nothing was committed: {cursor.statusmessage}")

    def __enter__(self) -> Self:
        """Begin the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the block; an error of the caller stays the one that is raised."""
        if kind is None:
            self.flush()
        elif self._pipeline is not None:
            self._pipeline.__exit__(kind, error, trace)

    def _send(
        self, text: str, values: Sequence[Any] = (), fence: Fence | None = None, **how: Any
    ) -> Any:
        with driver_errors(self._connection, text, self._judge):
            cursor = self._sending()
            if fence is not None:
                self._fences.append((cursor, fence))
            cursor.execute(text, values or None, **how)
            if fence is not None and len(self._fences) == 1:  # see `wait_for_lock`
                self._driver.pgconn.send_flush_request()
        return cursor

    def _sending(self) -> Any:
        if self._pipeline is None:
            begins = begin_later(self._driver)
            pipeline: AbstractContextManager[Any] = self._driver.pipeline()
            pipeline.__enter__()
            self._pipeline = pipeline
            if begins:
                self._driver.cursor().execute("BEGIN", prepare=False)
            if self._plans_are_old():
                self._driver.cursor().execute("DISCARD PLANS")
        return self._driver.cursor(binary=True)

    def _plans_are_old(self) -> bool:
        info = self._connection.info  # lives as long as the driver's connection
        used: int = info.get("plans_used", 0) + 1
        info["plans_used"] = used % PLANS_KEPT
        return used == PLANS_KEPT

    def _judge(self, error: Exception) -> None:
        """Note what an error means for the commit; raise that of a fence if it is one's."""
        said: Any = getattr(error, "diag", None)
        # After a graver one the session has ended, perhaps in the middle of the commit.
        self.refused = getattr(said, "severity_nonlocalized", None) == "ERROR"
        if (found := _COUNTED.search(getattr(said, "message_primary", None) or "")) is not None:
            # The statements before it have results, and those behind it were left out.
            broken = next(fence for cursor, fence in self._fences if cursor.pgresult is None)
            raise broken.broken(int(found[1])) from error


def begin_later(driver: Any) -> bool:
    """Return whether the caller has to send `BEGIN`: no transaction is open yet.

    Then the driver sends none itself, for which it would wait. `begin_itself` takes that back.
    """
    if driver.autocommit or driver.pgconn.transaction_status != _IDLE:
        return False
    driver.autocommit = True
    return True


def begin_itself(driver: Any) -> None:
    """Have the driver begin transactions again; no transaction may be open."""
    if driver.autocommit:
        driver.autocommit = False


def direct(connection: Connection) -> Direct:
    """Return direct access to the connection's driver."""
    if connection.dialect.name == "postgresql":
        return PostgresDirect(connection)
    return SqliteDirect(connection)


@contextmanager
def driver_errors(
    connection: Connection, text: str, judge: Callable[[Exception], None] | None = None
) -> Iterator[None]:
    """Turn a driver's error into SQLAlchemy's, and invalidate a lost connection.

    First `judge` is called with it; that may raise a more precise error.
    """
    dialect = connection.dialect
    driver: Any = dialect.loaded_dbapi
    try:
        yield
    except driver.Error as error:
        if judge is not None:
            judge(error)
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
