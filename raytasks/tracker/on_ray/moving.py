"""The tracker's way to another node, when its own was told to leave the cluster."""

import asyncio
import logging

import ray

from raytasks.pools.departures import Departures
from raytasks.runner.on_ray.nodes import nodes_now
from raytasks.tracker.ending import end_process

log = logging.getLogger(__name__)


async def move_when_told(departures: Departures) -> None:
    """End this process when its node leaves; Ray starts it again on another one.

    It stays to the end if there is no other node. What runs goes on, as with every restart of the
    tracker.
    """
    here = ray.get_runtime_context().get_node_id()
    while True:
        leaving = await departures.news()
        if here not in leaving:
            continue
        if await asyncio.to_thread(nodes_now):
            end_process("this node leaves; the tracker goes to another one")
        log.warning("this node leaves, and there is no other one for the tracker")
