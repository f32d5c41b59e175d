"""The watchdog: replaces a tracker whose process is there and does not answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

PING_SECONDS = 1.0
"""How long after an answer the tracker is asked again."""

PATIENCE_SECONDS = 5.0
"""How long a tracker that has answered before may take; twice as long after each replacement."""

FIRST_PATIENCE_SECONDS = 60.0
_LAST_CHANCE_SECONDS = 2.0


class Watchdog:
    """Asks the tracker again and again whether it runs, and has it replaced when it does not.

    Ray notices a process that is gone, but not one that is frozen. `ping` returns when the
    tracker has answered; `replace` ends its process, and Ray starts another one.
    """

    def __init__(
        self, ping: Callable[[], Awaitable[object]], replace: Callable[[], Awaitable[object]]
    ) -> None:
        self._ping = ping
        self._replace = replace
        self._patience = FIRST_PATIENCE_SECONDS

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            # The second try tells a tracker that is frozen from one that was replaced meanwhile by
            # another watchdog, and from a pause of this process itself.
            if await self._answers(self._patience) or await self._answers(_LAST_CHANCE_SECONDS):
                self._patience = PATIENCE_SECONDS
                await asyncio.sleep(PING_SECONDS)
                continue
            log.warning("the tracker has not answered for %g seconds; replacing it", self._patience)
            self._patience = min(FIRST_PATIENCE_SECONDS, 2 * self._patience)
            try:
                await self._replace()
            except Exception as error:
                log.warning("the tracker could not be replaced: %r", error)

    async def _answers(self, seconds: float) -> bool:
        asked = asyncio.ensure_future(_quietly(self._ping()))
        done, _ = await asyncio.wait([asked], timeout=seconds)
        asked.cancel()
        return bool(done)


async def _quietly(answer: Awaitable[object]) -> None:
    """Wait for an answer; an error is one too: the tracker is not frozen, or is gone for good."""
    try:
        await answer
    except Exception as error:
        log.info("the tracker's answer to a ping: %r", error)
