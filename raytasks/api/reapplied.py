"""`serve deploy` of the same configuration after a change of the code.

Serve compares configurations, and builds nothing if they are equal, so it would never see the
changed code. A replica that survives a `serve deploy` looks for itself.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often a replica asks Serve when its application was deployed, in seconds."""


@dataclass(frozen=True)
class Applied:
    """The last deployment of an application: its time, and whether all of it runs as configured.

    The time is in seconds since the epoch.
    """

    at: float
    settled: bool


class Reapplied:
    """Watches one application from within one of its replicas.

    `applied` asks Serve. Each deployment without a new build causes one call of `act`, with its
    time. The sign of it is that this replica still runs when all has settled. The time `built_for`
    is that of the deployment that this replica's build was made for. Without it, the first
    deployment that is seen counts.
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
        """Look once. Raises what `applied` and `act` raise."""
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
