"""The lock of an SQLite database: one service at a time uses a file.

It is a lock of the operating system on a file beside the database, and ends with its process,
however that ends. Not on the database itself: to close that file would end SQLite's own locks.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = "-service"
"""The end of the name of the lock's file; the database's name comes before it."""

_WAIT_SECONDS = 0.1
_MAX_TEXT = 200


class FileInUse(Exception):
    """Another service uses the database's file. The text says which, and what to do."""


@contextmanager
def locked(database: Path, holder: str = "", *, seconds: float = 0.0) -> Iterator[None]:
    """Hold the lock of a database until the block ends. Raises `FileInUse`, after `seconds`.

    The `holder` is a text that tells others which service this is.
    """
    database = database.absolute()
    file = database.with_name(database.name + SUFFIX)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise FileInUse(_text(database, descriptor)) from None
                time.sleep(_WAIT_SECONDS)
            except OSError:  # a file system without locks
                break
        if holder:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, holder.encode()[:_MAX_TEXT], 0)
        yield
    finally:
        os.close(descriptor)


def _text(database: Path, descriptor: int) -> str:
    holder = ""
    with contextlib.suppress(OSError):
        holder = os.pread(descriptor, _MAX_TEXT, 0).decode(errors="replace")
    who = f" ({holder})" if holder else ""
    return (
        f"another raytasks service{who} uses the file {database}: stop it first ('raytasks down'), "
        "or name another file; several services can share a PostgreSQL database only"
    )
