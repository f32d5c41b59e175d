"""The announcement: an API replica tells the tracker its build, again and again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from raytasks.pools.versions import Announced, VersionRefused

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 5.0
"""How often a replica makes sure that the tracker knows its build, in seconds.

A new tracker does not know it.
"""

FIRST_SECONDS = 5.0
"""How long a replica that starts waits for a tracker that does not answer, in seconds."""

TRIED_SECONDS = 150.0
"""How long a replica that starts waits for the trial of its build, in seconds."""

_LOOK_SECONDS = 0.2


class Announcement:
    """Announces a build to the tracker, which answers how far the build's trial has come."""

    def __init__(self, announce: Callable[[], Awaitable[Announced]]) -> None:
        self._announce = announce

    async def first(self) -> None:
        """Announce the build, and wait for the end of its trial. Without a tracker, go on.

        Raises `VersionRefused` for a build that has failed its trial.
        """
        try:
            async with asyncio.timeout(TRIED_SECONDS):
                while True:
                    async with asyncio.timeout(FIRST_SECONDS):
                        told = await self._announce()
                    if not told.on_trial:
                        break
                    await asyncio.sleep(_LOOK_SECONDS)
        except VersionRefused:
            raise
        except Exception as error:  # the tracker or its database is away: what runs must go on
            log.warning("the build could not be announced: %r", error)
            return
        if told.error is not None:
            raise VersionRefused(told.error)

    async def repeat(self) -> None:
        """Announce the build for ever: a new tracker of this cluster does not know it."""
        while True:
            try:
                await self._announce()
            except Exception as error:
                log.warning("the build could not be announced: %s", error)
            await asyncio.sleep(ANNOUNCE_SECONDS)
