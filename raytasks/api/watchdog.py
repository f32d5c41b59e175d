"""The watchdog: it replaces a tracker whose process exists but does nothing."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

PING_SECONDS = 1.0
"""How long after an answer the tracker is pinged again, in seconds."""

PATIENCE_SECONDS = 5.0
"""How long a tracker that has answered before may take, in seconds.

Then its signs of life are checked.
"""

FIRST_PATIENCE_SECONDS = 60.0
"""How long a tracker that has just started may take, in seconds."""

LOOK_SECONDS = 1.0
"""How often signs of life are checked while pings stay unanswered, in seconds."""

SPREAD_SECONDS = 5.0
"""The time over which watchdogs spread their action, in seconds, if several have seen the same."""

_LAST_CHANCE_SECONDS = 2.0
_LOG_SECONDS = 60.0

Sign = Callable[[], Awaitable[object]]
"""Returns a value that changes while the tracker lives, or None if it cannot be seen."""


class Watchdog:
    """Pings the tracker again and again, and replaces it when it is frozen.

    Ray detects a process that is gone, but not a frozen one. The call `ping` returns when the
    tracker has answered. The call `replace` ends its process, and Ray starts another one.

    Unanswered pings prove little: the link of one replica may be cut. So the epoch in the database
    decides. `epoch` returns its row, which a live tracker renews several times in a lease. The
    tracker is replaced only after a whole lease by this process's own clock. In that time no ping
    was answered, and the epoch did not move. Nobody is replaced without proof: not without `epoch`,
    nor while the database cannot be read.

    `life` returns what tells one process of the tracker from the next. If it changes, another
    watchdog was faster, and the new process gets the time that it needs to start.
    """

    def __init__(
        self,
        ping: Callable[[], Awaitable[object]],
        replace: Callable[[], Awaitable[object]],
        epoch: Sign | None = None,
        life: Sign | None = None,
        *,
        lease_seconds: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._chance = chance
        self._ping = ping
        self._replace = replace
        self._epoch = epoch
        self._life = life
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._patience = FIRST_PATIENCE_SECONDS
        self._logged: tuple[str, float] = ("", 0.0)

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            if await self._answers(self._patience):
                self._patience = PATIENCE_SECONDS
                await asyncio.sleep(PING_SECONDS)
            elif await self._is_frozen():
                log.warning("the tracker does nothing and renews no epoch; replacing it")
                self._patience = FIRST_PATIENCE_SECONDS
                try:
                    await self._replace()
                except Exception as error:
                    log.warning("the tracker could not be replaced: %r", error)

    async def _is_frozen(self) -> bool:
        """Check the signs of life until the tracker answers, or has shown none for a lease."""
        life = await _seen(self._life)
        known: object = None
        since = self._clock()
        while True:
            if await self._answers(_LAST_CHANCE_SECONDS):
                return False
            if await _seen(self._life) != life:
                self._patience = FIRST_PATIENCE_SECONDS
                return False
            present = await _seen(self._epoch)
            now = self._clock()
            if present is None:
                self._say("the database cannot be read from here: nobody can tell what it does")
            elif present != known and known is not None:
                self._say("it renews its epoch: it works, and cannot be reached from here")
            if present is None or present != known:
                known, since = present, now
            elif now - since >= self._lease_seconds:
                # Watchdogs that have seen the same must not all act at the same moment.
                await asyncio.sleep(self._chance() * SPREAD_SECONDS)
                answers = await self._answers(_LAST_CHANCE_SECONDS)
                return not answers and await _seen(self._life) == life
            await asyncio.sleep(LOOK_SECONDS)

    async def _answers(self, seconds: float) -> bool:
        asked = asyncio.ensure_future(_quietly(self._ping()))
        done, _ = await asyncio.wait([asked], timeout=seconds)
        asked.cancel()
        return bool(done)

    def _say(self, text: str) -> None:
        now, (known, at) = self._clock(), self._logged
        if text != known or now - at > _LOG_SECONDS:
            log.warning("the tracker does not answer, and is left alone: %s", text)
            self._logged = (text, now)


async def _seen(sign: Sign | None) -> object:
    """Return a sign of life; None if it cannot be seen."""
    if sign is None:
        return None
    try:
        return await sign()
    except Exception as error:
        log.info("a sign of the tracker's life cannot be seen: %r", error)
        return None


async def _quietly(answer: Awaitable[object]) -> None:
    """Wait for an answer.

    An error counts as one: the tracker is not frozen, or is gone for good.
    """
    try:
        await answer
    except Exception as error:
        log.info("the tracker's answer to a ping: %r", error)
