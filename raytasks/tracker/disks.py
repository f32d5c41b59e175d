"""The disks that the service writes to: how much is left, looked at now and then in a thread."""

import asyncio
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from raytasks.tracker.work_health import HealthReason, health_reason

log = logging.getLogger(__name__)

MIN_SHARE = 0.05
"""A disk with less than this share free is nearly full: Ray refuses to spill objects then."""

MIN_BYTES = 512 * 1024**2
"""A disk with fewer bytes free is nearly full."""

_FRESH_SECONDS = 10.0

Usage = Callable[[Path], tuple[int, int, int]]
"""Returns total, used and free bytes of the disk that has a folder. Raises `OSError`."""


def disk_reasons(places: Mapping[str, Path], usage: Usage = shutil.disk_usage) -> list[Any]:
    """Return the reasons for disks that are nearly full. Blocks.

    `places` has a folder or file for each thing that is written. Those on one disk share a reason.
    """
    disks: dict[int, tuple[Path, list[str]]] = {}
    for what, path in places.items():
        folder = _existing(path)
        try:
            disks.setdefault(os.stat(folder).st_dev, (folder, []))[1].append(what)
        except OSError as error:
            log.warning("the disk of %s cannot be looked at: %s", what, error)
    found = []
    for folder, names in disks.values():
        try:
            total, _used, free = usage(folder)
        except OSError as error:
            log.warning("the disk of %s cannot be looked at: %s", names[0], error)
            continue
        share = free / total if total else 0.0
        if share < MIN_SHARE or free < MIN_BYTES:
            found.append(_low(names, share, free))
    return found


def _low(names: list[str], share: float, free: int) -> HealthReason:
    return health_reason(
        "disk_nearly_full",
        f"the disk of {' and '.join(names)} has {free / 1e9:.1f} GB left, {share:.1%} of it",
        "make room, or prune sooner by RAYTASKS_RETENTION_SECONDS; a full disk stops submissions",
        count=len(names),
    )


def _existing(path: Path) -> Path:
    """Return a path that exists: this one, or the nearest folder above it."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


class DiskWatch:
    """The reasons of the disks, as last looked at. Nobody waits for a disk that hangs."""

    def __init__(self, places: Mapping[str, Path], usage: Usage = shutil.disk_usage) -> None:
        self._places = places
        self._usage = usage
        self._reasons: list[HealthReason] = []
        self._looked_at: float | None = None
        self._look: asyncio.Task[None] | None = None

    async def reasons(self, seconds: float) -> list[HealthReason]:
        """Return the reasons. Waits at most `seconds` for a new look, which goes on after that."""
        now = time.monotonic()
        if self._looked_at is None or now - self._looked_at > _FRESH_SECONDS:
            if self._look is None or self._look.done():
                self._look = asyncio.ensure_future(self._see())
            await asyncio.wait([self._look], timeout=seconds)
        return self._reasons

    async def _see(self) -> None:
        self._reasons = await asyncio.to_thread(disk_reasons, self._places, self._usage)
        self._looked_at = time.monotonic()
