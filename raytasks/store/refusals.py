"""The cause of a database error: one command, or the database itself.

The list is short on purpose: a command is at fault only for an error about a value that it brought.
Any other error says nothing of a command, so the database counts as away. Examples are a missing
privilege or table, a lost prepared statement, or an error within the server.
"""

import sqlite3

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from raytasks.model.lines import one_line
from raytasks.model.tasks import StoreUnavailable

_COMMANDS_FAULT = ("22", "23", "54")
"""SQLSTATE classes: data exception, broken constraint, program limit exceeded."""


_READ_ONLY_STATE = "25006"
"""The SQLSTATE of a write that a server refuses, as it takes none."""

NO_WRITES = (
    "the server takes no writes: it is a standby, or default_transaction_read_only is on; name the "
    "server that does in RAYTASKS_DATABASE_URL, or all of them with target_session_attrs=read-write"
)


_LOCK_STATE = "55P03"
"""The SQLSTATE of a statement that did not get a lock in time."""


def is_locked(error: BaseException | None) -> bool:
    """Return whether a statement was given up as another session holds a lock that it needs."""
    return getattr(error, "sqlstate", None) == _LOCK_STATE


def takes_no_writes(error: BaseException | None) -> bool:
    """Return whether a server has refused a write as it takes none.

    Its session may go on refusing when others can write, so it counts as lost.
    """
    return getattr(error, "sqlstate", None) == _READ_ONLY_STATE


def blames_command(error: DBAPIError) -> bool:
    """Return whether an error is the fault of the command that was to be stored.

    Errors raised in Python before the driver is called are no `DBAPIError`. They are the command's
    fault too.
    """
    original = error.orig
    if isinstance(original, sqlite3.Error):
        return _blames_command_sqlite(original)
    sqlstate = getattr(original, "sqlstate", None)
    if sqlstate is not None:
        return str(sqlstate)[:2] in _COMMANDS_FAULT
    # The driver itself refuses a value, e.g. a NUL in a text, or an unknown type.
    name = type(original).__name__
    return name == "DataError" or (name == "ProgrammingError" and "adapt" in str(original))


def error_name(error: BaseException) -> str:
    """Return an error's class name: its text may hold user data, or names of hosts and users."""
    cause = error.__cause__ or error
    return type(getattr(cause, "orig", None) or cause).__name__


def error_text(error: BaseException) -> str:
    """Return in short what an error says, for who sent the command: not for the log.

    It is without the statement, and without the details, which may have all values of a row.
    """
    cause = getattr(error, "orig", None) or error
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    return primary or one_line(cause)


def traceback_of(error: BaseException) -> BaseException | None:
    """Return an error for the log, with its traceback; None if a database error is its cause.

    The text of such an error may have the values of the statement, and so the user's data.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DBAPIError):
            return None
        cause = cause.__cause__ or cause.__context__
    return error


def unavailable(error: DBAPIError) -> StoreUnavailable:
    """Return the `StoreUnavailable` for an error that is no command's fault, with its name."""
    text = error_text(error)
    if takes_no_writes(error.orig):
        text = f"{text}: {NO_WRITES}"
    elif not isinstance(error, OperationalError | InterfaceError):  # those are the usual ones
        text = f"{type(error.orig or error).__name__}: {text}"
    away = StoreUnavailable(text)
    away.was_cut = error.connection_invalidated
    away.is_locked = is_locked(error.orig)
    return away


def _blames_command_sqlite(error: sqlite3.Error) -> bool:
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):  # e.g. too big
        return True
    return isinstance(
        error, sqlite3.ProgrammingError | sqlite3.InterfaceError
    ) and "binding parameter" in str(error)
