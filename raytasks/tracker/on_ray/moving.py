"""The tracker's way to another node, when its own was told to leave the cluster."""

import asyncio
import logging
from collections.abc import Callable

import ray

from raytasks.pools.departures import LOOK_SECONDS, Departures
from raytasks.runner.on_ray.nodes import has_another_place
from raytasks.tracker.ending import end_process

log = logging.getLogger(__name__)


async def move_when_told(
    departures: Departures,
    *,
    here: str | None = None,
    has_place: Callable[[str], bool] = has_another_place,
    end: Callable[[str], None] = end_process,
) -> None:
    """End this process when its node leaves; Ray starts it again on another one.

    While no other node can have it, it stays. What runs goes on, as with every restart of the
    tracker. `here` is the id of this node, by default Ray's answer. `has_place` blocks.
    """
    here = here or ray.get_runtime_context().get_node_id()
    while here not in await departures.news():
        pass
    waits = False
    while not await asyncio.to_thread(has_place, here):
        if not waits:
            log.warning("this node leaves, and there is no other one for the tracker")
        waits = True
        await asyncio.sleep(LOOK_SECONDS)
    end("this node leaves; the tracker goes to another one")
