"""Statements for many rows at once, compiled to SQL text only once for each database.

SQLAlchemy makes the text. Its own execution of a statement takes several times as long as the
database does for a row. SQLite gets the rows one by one, each in a mere function call. PostgreSQL
gets all of them in one statement, as one array for each column.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Dialect,
    Executable,
    String,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import TypeEngine

Values = Mapping[str, ColumnElement[Any]]
"""The placeholders of a row's values in a statement, by name."""

Row = Sequence[Any]
"""The values of one row, in the order of the batch's columns; times as floats, flags as 0 or 1."""

_NUMBERS = (int, float)


class Words(Protocol):
    """The wording that differs between the databases.

    The text `state` is a task's state, worded so that it is compared only after the row is found.
    Otherwise PostgreSQL may assume that few tasks run, and search them by an index of states.
    """

    state: str

    def insert(self, table: Table, values: Mapping[str, ColumnElement[Any]]) -> Any:
        """Return the statement that inserts the values of each row."""


class _Sqlite:
    state = "state"

    def insert(self, table: Table, values: Mapping[str, ColumnElement[Any]]) -> Any:
        return sqlite.insert(table).values(**values)


class _Postgres:
    state = "(state || '')"

    def insert(self, table: Table, values: Mapping[str, ColumnElement[Any]]) -> Any:
        return postgresql.insert(table).from_select(list(values), select(*values.values()))


class RowStatement:
    """A statement on many rows: `make` builds it from the placeholders of a row's values.

    The `columns` are the values of a row, each with the type of a column of our tables. The
    statement has no other parameters: values that are the same in all rows are written into it.
    """

    def __init__(
        self, columns: Mapping[str, Column[Any]], make: Callable[[Values, Words], Executable]
    ) -> None:
        self._columns = columns
        self._make = make

    @cached_property
    def for_rows(self) -> str:
        """Return the SQL for SQLite; its parameters are the values of a row."""
        places = {name: bindparam(f"p_{name}", type_=of.type) for name, of in self._columns.items()}
        statement = self._make(places, _Sqlite())
        # Parameters are numbered, so a value that occurs several times is given only once.
        compiled = _compiled(statement, sqlite.dialect(paramstyle="named"))
        _no_others(compiled.params, places.values())
        text = str(compiled)
        for number, name in sorted(enumerate(self._columns, start=1), key=_longest_first):
            text = text.replace(f":p_{name}", f"?{number}")
        return text

    @cached_property
    def for_arrays(self) -> str:
        """Return the SQL for PostgreSQL; its parameters are the columns as texts: see `arrays`."""
        dialect = postgres_dialect()
        given = {f"p_{name}": _array_of(of, dialect) for name, of in self._columns.items()}
        rows = (
            func.unnest(
                *[cast(bindparam(name), postgresql.ARRAY(of)) for name, of in given.items()]
            )
            .table_valued(*[column(name, of) for name, of in given.items()], name="given")
            .render_derived()
        )
        statement = self._make({name: rows.c[f"p_{name}"] for name in self._columns}, _Postgres())
        compiled = _compiled(statement, dialect)
        assert list(compiled.positiontup or ()) == list(given)
        return str(compiled)

    @cached_property
    def for_fence(self) -> str:
        """Return the SQL of `for_arrays` for a change of rows, with a check: see `counted`."""
        return counted(f"{self.for_arrays} RETURNING 1")


def counted(text: str) -> str:
    """Return SQL for PostgreSQL that fails unless a statement has the number of rows given last.

    The error is that of a text that is no number. The text has the number of rows that there were.
    """
    said = "CAST('raytasks: ' || count(*) || ' rows' AS integer)"
    found = f"CASE WHEN count(*) = CAST(%s AS bigint) THEN 0 ELSE {said} END"
    return f"WITH counted AS ({text}) SELECT {found} FROM counted"  # noqa: S608 - our own texts


def arrays(rows: Sequence[Row]) -> list[str]:
    """Return the columns of some rows in PostgreSQL's notation of arrays."""
    return [f"{{{','.join(_elements(values))}}}" for values in zip(*rows, strict=True)]


def _elements(values: Sequence[str | float | None]) -> Iterable[str]:
    if values.count(values[0]) == len(values):  # most columns are the same in all rows
        return [_element(values[0])] * len(values)
    return map(_element, values)


def _element(value: str | float | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, _NUMBERS):
        return repr(value)
    if "\\" in value:
        value = value.replace("\\", "\\\\")
    if '"' in value:
        value = value.replace('"', '\\"')
    return f'"{value}"'


class CompiledQuery:
    """A reading statement, compiled for one database."""

    def __init__(self, statement: Executable, dialect: Dialect) -> None:
        compiled = _compiled(statement, dialect)
        self.text = str(compiled)
        self._parameters = [(name, compiled.params[name]) for name in compiled.positiontup or ()]

    @cached_property
    def for_fence(self) -> str:
        """Return the SQL of `text` for PostgreSQL, with a check: see `counted`."""
        return counted(self.text)

    def values(self, bound: Mapping[str, Any]) -> list[Any]:
        """Return the values of its parameters in order, from values by name."""
        return [bound.get(name, fixed) for name, fixed in self._parameters]


@cache
def postgres_dialect() -> Dialect:
    """Return the dialect of SQL for the driver, with parameters by their position."""
    make: Callable[..., Dialect] = make_url("postgresql+psycopg://").get_dialect()
    return make(paramstyle="format")


@cache
def sqlite_dialect() -> Dialect:
    """Return the dialect of SQL for the driver, with parameters by their position."""
    return sqlite.dialect()


def _array_of(of: Column[Any], dialect: Dialect) -> TypeEngine[Any]:
    # A cast to a text of limited length would cut it off. Without the cast, its column refuses it.
    kind = of.type.dialect_impl(dialect)
    return Text() if isinstance(kind, String) else kind


def _compiled(statement: Any, dialect: Dialect) -> SQLCompiler:
    compiled: SQLCompiler = statement.compile(dialect=dialect)
    return compiled


def _longest_first(item: tuple[int, str]) -> int:
    return -len(item[1])


def _no_others(params: Mapping[str, Any], places: Any) -> None:
    others = params.keys() - {place.key for place in places}
    assert not others, f"written into the statement, not given: {others}"
