"""The nodes that were told to leave the cluster: no runner of theirs takes more work."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from raytasks.runner.on_ray.nodes import leaving_nodes

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""The time between two looks at which nodes leave."""

GIVE_BACK_SECONDS = 1.5
"""How long before a node's end what still runs there is given back, so that it is on disk."""


class Departures:
    """The nodes that leave, as last seen: looked at now and then, never waited for.

    `look` returns when each of them will be gone, in seconds since the epoch; it blocks. A node
    stays known until a look does not find it any more.
    """

    def __init__(self, look: Callable[[], Mapping[str, float]] = leaving_nodes) -> None:
        self._look = look
        self._known: Mapping[str, float] = {}
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = -LOOK_SECONDS
        self._news = asyncio.Event()

    def look(self) -> None:
        """Begin another look in a thread, if the last one was long ago."""
        now = time.monotonic()
        busy = self._looking is not None and not self._looking.done()
        if not busy and now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._looking = asyncio.ensure_future(self._see())

    async def _see(self) -> None:
        try:
            found = await asyncio.to_thread(self._look)
        except Exception as error:
            log.warning("which nodes leave cannot be had: %r", error)
            return
        for node_id in found.keys() - self._known.keys():
            log.info("the node %s leaves, and takes no more work", node_id)
            self._news.set()
        self._known = found

    async def news(self) -> frozenset[str]:
        """Wait until one more node leaves; return all that leave now."""
        await self._news.wait()
        self._news.clear()
        return frozenset(self._known)

    def patience(self, node_id: str | None) -> float | None:
        """Return how many seconds what runs on a node may still take; None if the node stays.

        They are negative when it is time to give it back.
        """
        gone_at = None if node_id is None else self._known.get(node_id)
        return None if gone_at is None else gone_at - GIVE_BACK_SECONDS - time.time()
