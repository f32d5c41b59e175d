"""The watch over the file of an SQLite database, which may be deleted while it is open.

The connections to a deleted file still work, but their commits are lost when the last one closes.
"""

import os
import sqlite3
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.engine import URL

from raytasks.model.tasks import StoreUnavailable


class SqliteFile:
    """The file that a database's path led to when it was first opened."""

    def __init__(self, url: URL) -> None:
        name = url.database or ""
        # A `file:` URI may name something other than a plain file.
        self._path = None if name.startswith("file:") else Path(name).absolute()
        self._known: tuple[int, int] | None = None

    def watch(self, engine: Engine) -> None:
        """Prevent the engine from opening another file under the same name, or creating one."""

        @event.listens_for(engine, "do_connect")
        def _before(*_: object) -> None:
            if self._known is not None and (wrong := self._what_is_wrong()):
                raise sqlite3.OperationalError(wrong)

        @event.listens_for(engine, "connect")
        def _after(*_: object) -> None:
            if self._known is None and self._path is not None:
                found = os.stat(self._path)
                self._known = found.st_dev, found.st_ino

    def check(self) -> None:
        """Raise `StoreUnavailable` if the file was deleted, moved or replaced."""
        if self._known is not None and (wrong := self._what_is_wrong()):
            raise StoreUnavailable(wrong)

    def _what_is_wrong(self) -> str | None:
        assert self._path is not None
        try:
            found = os.stat(self._path)
        except OSError:
            return (
                f"the database file {self._path} was deleted or moved while it is in use; "
                "put it back, or stop raytasks and start it again"
            )
        if (found.st_dev, found.st_ino) != self._known:
            return (
                f"another file has taken the place of the database file {self._path}; "
                "stop raytasks and start it again to use it"
            )
        return None
