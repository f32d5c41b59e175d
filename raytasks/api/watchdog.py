"""The watchdog: replaces a tracker whose process is there and does nothing."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

PING_SECONDS = 1.0
"""How long after an answer the tracker is asked again."""

PATIENCE_SECONDS = 5.0
"""How long a tracker that has answered before may take before its signs of life are looked at."""

FIRST_PATIENCE_SECONDS = 60.0
"""How long a tracker that has just been started may take."""

LOOK_SECONDS = 1.0
"""How often signs of life are looked for while pings stay unanswered."""

SPREAD_SECONDS = 5.0
"""Within what time several watchdogs act that have seen the same."""

_LAST_CHANCE_SECONDS = 2.0
_LOG_SECONDS = 60.0

Sign = Callable[[], Awaitable[object]]
"""Returns something that changes while the tracker lives, or None where that cannot be seen."""


class Watchdog:
    """Asks the tracker again and again whether it runs, and has it replaced when it does not.

    Ray notices a process that is gone, but not one that is frozen. `ping` returns when the tracker
    has answered; `replace` ends its process, and Ray starts another one.

    Pings that stay unanswered here prove little: the link of one replica may be cut. So the epoch
    in the database is the judge. `epoch` returns its row, which a live tracker renews several times
    in a lease. The tracker is replaced only when its pings stay unanswered and the epoch has not
    moved, both for a whole lease by this process's own clock. What cannot be seen is no proof:
    without `epoch`, and while the database cannot be read, nobody is replaced.

    `life` returns what tells one process of the tracker from the next. Where it changes, somebody
    else was faster, and the new process gets the time that it needs to start.
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
        """Look at the signs of life until the tracker answers, or has shown none for a lease."""
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
                # Watchdogs that have seen the same do not all act at the same moment.
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
    """Return a sign of life; None where it cannot be seen."""
    if sign is None:
        return None
    try:
        return await sign()
    except Exception as error:
        log.info("a sign of the tracker's life cannot be seen: %r", error)
        return None


async def _quietly(answer: Awaitable[object]) -> None:
    """Wait for an answer; an error is one too: the tracker is not frozen, or is gone for good."""
    try:
        await answer
    except Exception as error:
        log.info("the tracker's answer to a ping: %r", error)
