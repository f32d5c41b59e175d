"""The tracker's hold on the file of an SQLite database: no other service uses it meanwhile."""

import asyncio
import logging
import os
import platform
from contextlib import AbstractContextManager
from pathlib import Path

from raytasks.model.tasks import StoreUnavailable
from raytasks.store.file_lock import FileInUse, locked
from raytasks.tracker.core import Tracker

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0

_held: list[AbstractContextManager[None]] = []  # until this process ends


async def own_file(tracker: Tracker, file: Path | None) -> None:
    """Return when this process has the lock of a database's file; at once without a file.

    Until then, the tracker refuses all commands, and `/health` says why.
    """
    told = False
    while file is not None:
        hold = locked(file, f"process {os.getpid()} on {platform.node()}")
        try:
            hold.__enter__()
        except FileInUse as error:
            if not told:
                log.error("%s", error)
            told = True
            tracker.ticker.access.stand_by(StoreUnavailable(str(error)))
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            _held.append(hold)
            return
