"""The clusters before this one on the same database: one that was replaced, and one that lives.

The successor of a cluster that `raytasks up` has replaced need not wait for a lease.
"""

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raytasks.settings import Settings

_IN_USE_SECONDS = 3.0  # a service that was killed may still be ending

FORMER = "RAYTASKS_FORMER_CLUSTER"
"""The environment variable in which `up` names its cluster to the process that replaces it."""


def remember(owner: str) -> None:
    """Note which cluster this process runs, in case that it has to start another one."""
    os.environ[FORMER] = owner


def forget_former(database_url: str) -> None:
    """Tell the database that the former cluster of this command is dead, if there was one.

    If that fails, the new cluster finds out after a lease.
    """
    from raytasks.model.tasks import StoreUnavailable
    from raytasks.store.outpost_rows import forget_reigns
    from raytasks.store.store import Store

    owner = os.environ.pop(FORMER, None)
    if owner is None:
        return
    store = Store(database_url)
    try:
        with contextlib.suppress(StoreUnavailable), store.writing_own() as connection:
            forget_reigns(connection, [owner])
    finally:
        store.close()


def refuse_second(settings: "Settings") -> None:
    """Raise `SettingsError` if another service uses the SQLite database."""
    from raytasks.settings import SettingsError
    from raytasks.store.file_lock import FileInUse, locked

    if settings.sqlite_path is None:
        return
    try:
        with locked(settings.sqlite_path, seconds=_IN_USE_SECONDS):
            pass
    except FileInUse as error:
        raise SettingsError(f"RAYTASKS_DATABASE_URL: {error}") from None
