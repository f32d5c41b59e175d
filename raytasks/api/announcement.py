"""What an API replica tells the tracker of its build, again and again."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from raytasks.pools.versions import Announced, VersionRefused

log = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 5.0
"""How often a replica makes sure that the tracker knows its build: a new tracker does not."""

FIRST_SECONDS = 5.0
"""How long a replica that starts waits for a tracker that does not answer."""

TRIED_SECONDS = 150.0
"""How long a replica that starts waits for the trial of its build."""

_LOOK_SECONDS = 0.2


class Announcement:
    """Announces a build by a call to the tracker, which says how far its trial has come."""

    def __init__(self, announce: Callable[[], Awaitable[Announced]]) -> None:
        self._announce = announce

    async def first(self) -> None:
        """Announce it, and wait for the end of its trial; a replica without a tracker goes on.

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
        """Announce it for ever: a tracker that is new to this cluster does not know it."""
        while True:
            try:
                await self._announce()
            except Exception as error:
                log.warning("the build could not be announced: %s", error)
            await asyncio.sleep(ANNOUNCE_SECONDS)
