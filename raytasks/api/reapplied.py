"""`serve deploy` of the same configuration after a change of the code.

Serve compares configurations, and builds nothing where they are equal: the changed code would never
be looked at. A replica that outlives a `serve deploy` looks itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often a replica asks Serve when its application was deployed."""


@dataclass(frozen=True)
class Applied:
    """When Serve was last told of an application (seconds since the epoch), and whether all of it
    runs as it was told."""

    at: float
    settled: bool


class Reapplied:
    """Watches one application from within one of its replicas.

    `applied` asks Serve, and `act` is called once for each time that the application was deployed
    again without a new build: this replica is still there when all has settled. `built_for` is the
    time of the deployment that this replica's build was made for; without it, the first one seen.
    """

    def __init__(
        self,
        applied: Callable[[], Awaitable[Applied | None]],
        act: Callable[[float], Awaitable[None]],
        built_for: float | None = None,
    ) -> None:
        self._applied = applied
        self._act = act
        self._known = built_for

    async def look(self) -> None:
        """Look once. Raises what the two calls raise."""
        found = await self._applied()
        if found is None or not found.settled:
            return
        known, self._known = self._known, found.at
        if known is not None and found.at > known:
            await self._act(found.at)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except Exception as error:
                log.warning("it cannot be told when the API was deployed: %s", error)
            await asyncio.sleep(LOOK_SECONDS)
