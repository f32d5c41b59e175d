"""The way from a runner's process to the tracker, and what Ray knows of that process."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import ray

from raytasks.models import Exchange, Orders
from raytasks.runner.exchange import Identity
from raytasks.runner.plan import RunnerPlan

NAMESPACE = "raytasks"
TRACKER_NAME = "raytasks.tracker"


def identity(plan: RunnerPlan) -> Identity:
    """Return who the runner in this process is."""
    return Identity(
        runner_id=str(uuid.uuid4()),
        name=plan.name,
        pool=plan.pool,
        generation=plan.generation,
        node_id=ray.get_runtime_context().get_node_id(),
    )


def tracker_call() -> Callable[[Exchange], Awaitable[Orders]]:
    """Return a function that makes one exchange with the tracker, whichever process that is."""
    known: list[Any] = []

    async def call(exchange: Exchange) -> Orders:
        if not known:
            known.append(await asyncio.to_thread(ray.get_actor, TRACKER_NAME, NAMESPACE))
        try:
            orders: Orders = await known[0].exchange.remote(exchange)
        except Exception:
            known.clear()  # a tracker that was killed for good and made anew has another handle
            raise
        return orders

    return call
