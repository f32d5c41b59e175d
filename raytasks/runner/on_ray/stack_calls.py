"""The call of a runner for the stack of one of its attempts."""

import asyncio
import logging
from typing import Any

import ray
from ray.exceptions import RayError

from raytasks.model.tasks import Running
from raytasks.runner.identity import RAY_NAMESPACE
from raytasks.runner.stacks import ANSWER_SECONDS

log = logging.getLogger(__name__)


async def stack_of(name: str, running: Running) -> str | None:
    """Return the stack of an attempt that the runner of this name runs; None if it cannot.

    It takes little longer than `ANSWER_SECONDS`.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS + 1):
            runner: Any = await asyncio.to_thread(ray.get_actor, name, RAY_NAMESPACE)
            text: str | None = await runner.stack.remote(running.task_id, running.attempt)
    except (RayError, ValueError, TimeoutError) as error:
        log.warning("the stack of task %s cannot be had from %s: %r", running.task_id, name, error)
        return None
    return text
