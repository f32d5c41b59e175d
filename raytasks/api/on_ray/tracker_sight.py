"""Signs of life that the tracker shows without an answer: its epoch in SQL, and Ray's word.

The epoch is read straight from the database. If the database is a file on another node, a small Ray
task reads it there. So the verdict never rests on this replica's own link to the tracker alone.
"""

import asyncio
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raytasks.protocol.places import DatabasePlace
from raytasks.runner.on_ray.ray_internals import actor_life
from raytasks.store.store import Store
from raytasks.store.store_calls import READ_SECONDS


def read_epoch(url: str) -> tuple[str | None, float]:
    """Return the owner of the epoch in a database, and when it was renewed.

    Raises if it cannot.
    """
    store = Store(url, reads_only=True)
    try:
        return store.epoch_owner()
    finally:
        store.close()


_READ_EPOCH = ray.remote(read_epoch)


async def epoch_of(tracker: Any, place: DatabasePlace) -> object:
    """Return the tracker's epoch as it is in SQL, or None if another tracker owns it.

    `tracker` is the actor's handle. After some seconds, raises the error that makes reading
    impossible.
    """
    here = ray.get_runtime_context().get_node_id()
    async with asyncio.timeout(READ_SECONDS):
        if place.is_bound_elsewhere(here):
            there = NodeAffinitySchedulingStrategy(place.node_id, soft=False)
            task = _READ_EPOCH.options(num_cpus=0, max_retries=0, scheduling_strategy=there)
            owner, renewed_at = await task.remote(place.url)
        else:
            owner, renewed_at = await asyncio.to_thread(read_epoch, place.url)
    # Another owner's epoch says nothing of this tracker.
    return (owner, renewed_at) if owner == tracker._actor_id.hex() else None


async def life_of(tracker: Any) -> object:
    """Return what tells one process of the tracker from the next; None if Ray does not say."""
    return await asyncio.to_thread(actor_life, tracker._actor_id)
