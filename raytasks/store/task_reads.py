"""The most frequent read: a task with its ended attempts. Its SQL text is compiled only once.

SQLAlchemy makes the text, and decodes the values of rows. Its own execution of a statement takes
several times as long as the database does here.
"""

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from pydantic_core import from_json
from sqlalchemy import (
    ARRAY,
    Double,
    Text,
    bindparam,
    cast,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.engine import make_url

from raytasks.model.states import State
from raytasks.model.tasks import AttemptRecord, StoreUnavailable, Task
from raytasks.store import place_rows
from raytasks.store.cursors import driver_errors
from raytasks.store.cutting import make_cuttable
from raytasks.store.database import open_sqlite, translated
from raytasks.store.database_url import parse_url
from raytasks.store.postgres_sessions import postgres_engine
from raytasks.store.read_statements import ATTEMPTS_OF, MAX_ATTEMPTS
from raytasks.store.schema import attempts, tasks
from raytasks.store.statements import TASK_COLUMNS

Found = tuple[Task, list[AttemptRecord]]

POSTGRES_CONNECTIONS = 2

_TIMES = [
    index for index, column in enumerate(place_rows.COLUMNS) if isinstance(column.type, Double)
]
_Decode = Callable[[Sequence[Any]], Sequence[Any]]


class SqlitePoints:
    """Point reads of a file, for one thread. Each takes about ten microseconds, and never waits."""

    def __init__(self, url: str) -> None:
        self._url = parse_url(url)
        self._connection: sqlite3.Connection | None = None

    def read(self, task_id: str) -> Found | None:
        """Return a task and its ended attempts, both as of one moment; None if there is none.

        Raises `StoreUnavailable`, also if it would have to wait for a lock.
        """
        task_text, attempts_text, decode = _sqlite_texts()
        try:
            if self._connection is None:
                self._connection = open_sqlite(self._url, timeout=0)
            cursor = self._connection.cursor()
            try:
                cursor.execute("BEGIN")
                found = cursor.execute(task_text, (task_id,)).fetchall()
                history = cursor.execute(attempts_text, (task_id,)).fetchall() if found else []
            finally:
                self._connection.rollback()  # no snapshot must stay open
        except (sqlite3.OperationalError, sqlite3.InterfaceError) as error:
            raise StoreUnavailable(str(error)) from error
        if not found:
            return None
        return _task(decode(found[0])), [AttemptRecord(*row) for row in reversed(history)]

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class PostgresPoints:
    """Point reads on a server: one statement, and one round trip, for many of them."""

    def __init__(self, url: str) -> None:
        self._engine = postgres_engine(
            url,
            keeps_plans=True,
            reads_only=True,
            pool_size=POSTGRES_CONNECTIONS,
            max_overflow=0,
            pool_timeout=5,
            isolation_level="AUTOCOMMIT",
        )
        make_cuttable(self._engine)

    def read(self, task_ids: Sequence[str]) -> dict[str, Found]:
        """Return the existing tasks with their ended attempts, by id, as of one moment.

        Raises `StoreUnavailable`.
        """
        text, bound = _postgres_text(), {"p_task_ids": list(task_ids)}
        with translated(), self._engine.begin() as connection, driver_errors(connection, text):
            driver: Any = connection.connection.driver_connection
            rows = driver.cursor().execute(text, bound).fetchall()
        found = {}
        for *row, history in rows:
            task = _task(row)
            ended = from_json(history) if history else ()
            found[task.task_id] = task, [_attempt(values) for values in ended]
        return found

    def give_up_connections(self) -> None:
        """Use new connections: a call hangs, and its connection does not come back."""
        self._engine.dispose(close=False)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _task(values: Sequence[Any]) -> Task:
    task_id, task_type, state, *rest = values
    return Task(task_id, task_type, State(state), *rest)


def _attempt(values: list[Any]) -> AttemptRecord:
    for index in _TIMES:  # a whole number of seconds is an integer in JSON
        if values[index] is not None:
            values[index] = float(values[index])
    return AttemptRecord(*values)


@cache
def _sqlite_texts() -> tuple[str, str, _Decode]:
    """Return the SQL of the task and of its attempts, and the decoder of the task's row."""
    dialect = sqlite.dialect()
    task = select(*TASK_COLUMNS).where(tasks.c.task_id == bindparam("p_task_id"))
    texts = [str(statement.compile(dialect=dialect)) for statement in (task, ATTEMPTS_OF)]
    processors = []
    for index, column in enumerate(TASK_COLUMNS):
        process = column.type.dialect_impl(dialect).result_processor(dialect, None)
        if process is not None:
            processors.append((index, process))

    def decode(row: Sequence[Any]) -> Sequence[Any]:
        values = list(row)
        for index, process in processors:
            values[index] = process(values[index])
        return values

    return texts[0], texts[1], decode


@cache
def _postgres_text() -> str:
    """Return the SQL; its last column has the attempts, as a JSON list of lists."""
    # Both as text: else the driver makes objects that nobody needs.
    columns = [cast(item, Text) if item is tasks.c.task_id else item for item in TASK_COLUMNS]
    newest = (
        select(*place_rows.COLUMNS)
        .select_from(place_rows.ATTEMPTS)
        .where(attempts.c.task_id == tasks.c.task_id)
        .order_by(attempts.c.attempt.desc())
        .limit(literal_column(str(MAX_ATTEMPTS)))
        .correlate(tasks)
        .subquery()
    )
    rows = func.json_agg(
        aggregate_order_by(func.json_build_array(*newest.columns), newest.c.attempt)
    )
    history = select(cast(rows, Text))
    ids = bindparam("p_task_ids", type_=ARRAY(postgresql.UUID(as_uuid=False)))
    statement = select(*columns, history.scalar_subquery()).where(tasks.c.task_id == func.any(ids))
    dialect = make_url("postgresql+psycopg://").get_dialect()()
    return str(statement.compile(dialect=dialect))
