"""Whose fault an error of the database is: that of one command, or of the database itself.

The list is short on purpose: only what is said of a value is the fault of the command that brought
it. All else (a missing privilege or table, a prepared statement that is gone, an error within the
server) says nothing of any command: for us the database is away.
"""

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from raytasks.model.lines import one_line
from raytasks.model.tasks import StoreUnavailable

_COMMANDS_FAULT = ("22", "23", "54")
"""SQLSTATE classes: data exception, broken constraint, limit of the program exceeded."""


def blames_command(error: DBAPIError) -> bool:
    """Return whether an error is the fault of the command that was to be stored.

    Errors that are raised in Python before the driver is called are no `DBAPIError`; they are the
    command's fault as well.
    """
    original = error.orig
    if isinstance(original, sqlite3.Error):
        return _blames_command_sqlite(original)
    sqlstate = getattr(original, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate)[:2] in _COMMANDS_FAULT
    # The driver itself refuses a value, e.g. a NUL in a text, or a type that it does not know.
    name = type(original).__name__
    return name == "DataError" or (name == "ProgrammingError" and "adapt" in str(original))


def unavailable(error: DBAPIError) -> StoreUnavailable:
    """Return what stands for an error that is no command's fault, with its name."""
    said = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    text = said or one_line(error.orig or error)  # PostgreSQL shows the statement as well
    if not isinstance(error, OperationalError | InterfaceError):  # which are the usual ones
        text = f"{type(error.orig or error).__name__}: {text}"
    away = StoreUnavailable(text)
    away.was_cut = error.connection_invalidated
    return away


def _blames_command_sqlite(error: sqlite3.Error) -> bool:
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):  # e.g. too big
        return True
    return isinstance(
        error, sqlite3.ProgrammingError | sqlite3.InterfaceError
    ) and "binding parameter" in str(error)
